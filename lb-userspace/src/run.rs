//! `weir run`: everything put together, from start to the host left as it was.

mod broken;
mod footing;
mod replies;
mod trace;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::api::server::ControlSocket;
use crate::config::{Config, OnExit};
use crate::controller::{Controller, Registries, capacity};
use crate::dataplane::kernel::{Kernel, Pins, TakeOver, Unresolved};
use crate::doctor;
use crate::following::Following;
use crate::memory;
use crate::nexthop::{Clients, Follower, MAX_FOLLOWED, NextHops};
use crate::reset::Resetter;
use crate::source::Update;
use crate::survey::{Purpose, Reload, Survey, Surveyed};
use broken::Broken;
use footing::Footing;
use replies::reply;
use trace::follow_trace;

/// How many reports of sources may wait for the controller.
const REPORTS: usize = 64;

/// How long the last answers may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often readiness is looked at until it is there.
const READINESS: Duration = Duration::from_millis(20);

/// Runs until SIGTERM, SIGINT or `weir detach`, then leaves the host as it was, or with `on_exit = "keep"` and unless
/// asked to detach, the programs at work.
///
/// `trace` logs every verdict of the packet path.
///
/// # Errors
/// Whatever keeps it from starting. Nothing is attached or left then; what an earlier run has kept goes on as it was.
pub async fn run(config: Config, trace: bool) -> Result<()> {
    must_be_possible(&config)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let follower = Follower::start()?;
    let mut changes = follower.changes();
    let first: Arc<NextHops> = Arc::clone(&changes.borrow_and_update());
    let socket = ControlSocket::bind(&config.weir.socket)?;
    let pins = Pins::open(&config.weir.state)?;
    // What goes on without a device goes on also with a controller; it attaches when the device appears.
    if pins.found().is_none()
        && let Some(problem) = config.missing_device(&first.devices, &[])
    {
        bail!("{problem}");
    }
    let (reports, mut updates) = mpsc::channel(REPORTS);
    let mut registries = Registries::default();
    let mut following = Following::new(reports);
    // What is malformed from the start is refused, unless there is a last good state that can stand.
    following.follow(&config, &mut registries, pins.found().is_none())?;

    let mut wanted = capacity(&config);
    if let (false, Some((_, found))) = (config.weir.table_size_said, pins.found()) {
        // Nobody asked for another one than there is.
        wanted.table_size = found.table_size;
    }
    let mut takeover = TakeOver::load(pins, wanted, config.weir.hash_seed, trace)?;
    let capacity = takeover.capacity();
    let mut plane = Kernel::new(takeover.object(), capacity)?;
    if takeover.adopts().is_none() {
        plane = plane.with_new_maps();
    }
    if trace {
        follow_trace(takeover.object())?;
    }
    let mut unresolved = Unresolved::new(takeover.object())?;
    let interfaces = config.interfaces.clone();
    let mut controller = if takeover.adopts().is_some() {
        tracing::info!(state = %config.weir.state.display(), "taking over what an earlier run has kept");
        Controller::adopt(config, plane, capacity, registries, Instant::now())?
    } else {
        Controller::new(config, plane, registries, Instant::now())
    };
    let notes = takeover.notes().to_vec();
    // The last thing that can fail, and the first that a packet can see.
    let attachments = takeover.commit(interfaces, &first.devices, Instant::now())?;
    let mut footing = Footing::new(first, attachments);
    controller.stand_on(footing.ground(), Instant::now());

    let (stop, stopped) = oneshot::channel::<()>();
    let (mut requests, serving) = socket.serve(async { drop(stopped.await) });
    let serving = tokio::spawn(serving);
    // Nothing is followed yet, also not what was adopted.
    let mut followed = None;
    let mut clients = Clients::default();
    let mut bridges = BTreeSet::new();
    let mut announced = false;
    let mut detached = None;
    // What has failed for good while traffic goes on.
    let mut broken = Broken::default();
    let mut heard = Vec::new();
    let mut survey = Survey::default();
    let mut resetter = Resetter::default();
    tracing::info!("running");

    loop {
        let tick = controller.tick_at();
        let attach = footing.attachments.retry_at();
        let look = footing.shaper.next_at();
        tokio::select! {
            // All that waits at once: a burst of snapshots is not published one by one.
            1.. = updates.recv_many(&mut heard, REPORTS) => controller.hear(heard.drain(..), Instant::now()),
            // What it said before comes first, or it would end the problem.
            ended = following.ended() => hear_rest(&mut controller, &mut updates, Some(ended)),
            asked = unresolved.next(), if broken.clients.is_none() => match asked {
                Ok(asked) => clients.ask(asked, Instant::now()),
                Err(error) => Broken::note(&mut broken.clients, format!("clients' neighbours are not asked for: {error:#}")),
            },
            () = sleep_until(clients.until()), if clients.until().is_some() => clients.expire(Instant::now()),
            changed = changes.changed(), if broken.hops.is_none() => match changed {
                Ok(()) => {
                    footing.hops = Arc::clone(&changes.borrow_and_update());
                    footing.attend(&bridges);
                    controller.stand_on(footing.ground(), Instant::now());
                }
                Err(_) => Broken::note(&mut broken.hops, "the thread that follows the kernel's routes has ended".to_owned()),
            },
            Some(request) = requests.recv() => {
                let problems = footing.problems().chain(broken.problems()).chain(notes.iter().cloned());
                if let Some(answer) = reply(&mut controller, &mut survey, &footing, problems, request) {
                    detached = Some(answer);
                    tracing::info!("asked to detach");
                    break;
                }
            }
            () = sleep_until(attach), if attach.is_some() => {
                footing.attend(&bridges);
                controller.stand_on(footing.ground(), Instant::now());
            }
            () = sleep_until(look), if look.is_some() => {}
            () = sleep_until(tick), if tick.is_some() => controller.tick(Instant::now()),
            () = tokio::time::sleep(READINESS), if !announced => {}
            _ = terminate.recv() => { tracing::info!("SIGTERM"); break }
            surveyed = survey.done() => {
                act_on(surveyed, &mut controller, &mut updates, &mut following, &mut footing);
                survey.go_on(&mut controller);
            }
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: reading the configuration again");
                survey.begin(&mut controller, Purpose::Reload(None, None));
            }
            _ = interrupt.recv() => { tracing::info!("SIGINT"); break }
        }
        resetter.send(controller.take_resets());
        if bridges != controller.bridges() {
            bridges = controller.bridges();
            footing.attend(&bridges);
            controller.stand_on(footing.ground(), Instant::now());
        }
        if footing.queue(&controller) {
            controller.stand_on(footing.ground(), Instant::now());
        }
        // Here and not in a branch of its own: whatever keeps the loop busy must not keep this from being said.
        if !announced && controller.is_ready(Instant::now()) {
            announced = true;
            tracing::info!("ready");
            // What the start took, the verifier's types and the programs' text among it, is not needed again.
            memory::give_back();
            tell_systemd(&[NotifyState::Ready]);
        }
        let asked: BTreeSet<IpAddr> = clients.addresses().collect();
        let wanted = (controller.addresses_version(), asked);
        if followed.as_ref() != Some(&wanted) {
            let mut addresses = controller.addresses();
            addresses.extend(wanted.1.iter().take(MAX_FOLLOWED - addresses.len()));
            if let Err(error) = follower.follow(addresses) {
                tracing::error!(error = format!("{error:#}"), "the addresses of before are followed");
            }
            followed = Some(wanted);
        }
    }

    tell_systemd(&[NotifyState::Stopping]);
    if survey.is_under_way()
        && let Err(error) = controller.end_census()
    {
        tracing::warn!(error = format!("{error:#}"), "the packet path goes on noting flows");
    }
    drop((following, survey));
    // The programs first, then the maps they read.
    let keeps = detached.is_none() && controller.config().weir.on_exit == OnExit::Keep;
    let left = if keeps {
        drop(footing);
        tracing::info!("kept: traffic goes on, and the next run adopts it");
        Ok(())
    } else {
        footing.remove().map(|removed| removed.iter().for_each(|one| tracing::info!("took away {one}")))
    };
    drop(controller);
    match &left {
        Ok(()) if !keeps => tracing::info!("detached"),
        Ok(()) => {}
        Err(error) => tracing::error!(error = format!("{error:#}"), "not everything could be taken away"),
    }
    if let Some(answer) = detached {
        // Whoever asked may have gone.
        drop(answer.send(left.as_ref().copied().map_err(|error| format!("{error:#}"))));
    }
    drop((requests, stop));
    // Answers are given within moments; a client that does not read its own is not waited for.
    match tokio::time::timeout(FAREWELL, serving).await {
        Ok(Err(error)) => bail!("the control socket's task failed: {error}"),
        Ok(Ok(())) | Err(_) => left,
    }
}

/// Hears what sources have said until now, and then this.
fn hear_rest(controller: &mut Controller<Kernel>, updates: &mut mpsc::Receiver<Update>, last: Option<Update>) {
    let mut rest: Vec<Update> = std::iter::from_fn(|| updates.try_recv().ok()).collect();
    rest.extend(last);
    controller.hear(rest, Instant::now());
}

/// Answers whoever asked for a survey, and takes over the configuration if one was asked for and judged good.
fn act_on(
    surveyed: Surveyed,
    controller: &mut Controller<Kernel>,
    updates: &mut mpsc::Receiver<Update>,
    following: &mut Following,
    footing: &mut Footing,
) {
    let Some(reload) = surveyed.judge(controller) else { return };
    // What registries said until now is about the configuration that is.
    hear_rest(controller, updates, None);
    let done = take_over(controller, following, footing, &reload);
    reload.tell(done);
}

/// Has everybody go by another configuration; after an error by the one of before.
fn take_over(
    controller: &mut Controller<Kernel>,
    following: &mut Following,
    footing: &mut Footing,
    reload: &Reload,
) -> Result<()> {
    let config = &reload.config;
    following.follow(config, controller.registries(), false)?;
    footing.attachments.want(config.interfaces.clone());
    footing.attend(&controller.bridges());
    controller.reconfigure(config.clone(), &reload.answers, footing.ground(), Instant::now())?;
    tracing::info!(path = %config.path.display(), "the configuration was taken over");
    Ok(())
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Refuses on a host where nothing can work, and says what else will not.
fn must_be_possible(config: &Config) -> Result<()> {
    for finding in doctor::examine(Some(config)) {
        let doctor::Finding { check, subject, level, found, advice } = finding;
        let advice = advice.unwrap_or_default();
        match (level, check) {
            (doctor::Level::Bad, "kernel" | "privileges") => bail!("{check}: {found}; {advice}"),
            // Said with a line of the configuration, and with the process that holds it, further on.
            (doctor::Level::Bad, "interface" | "program" | "state")
            | (doctor::Level::Good | doctor::Level::Advice, _) => {}
            (doctor::Level::Bad, _) => tracing::warn!(check, subject, found, advice, "weir doctor finds fault"),
        }
    }
    Ok(())
}

/// Outside of systemd nobody listens, and that is fine.
pub(crate) fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}
