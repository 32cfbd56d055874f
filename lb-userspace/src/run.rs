//! `weir run`: everything put together, from start to the host left as it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::api::server::{ControlSocket, Request};
use crate::config::Config;
use crate::controller::{Controller, Registries, capacity};
use crate::dataplane::kernel::{Attachments, Kernel, Object, Unresolved};
use crate::desired::Ground;
use crate::doctor;
use crate::nexthop::{Clients, Follower, MAX_FOLLOWED, NextHops};
use crate::source::{self, Publisher};

/// How many reports of sources may wait for the controller.
const REPORTS: usize = 64;

/// How long the last answers may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often readiness is looked at until it is there.
const READINESS: Duration = Duration::from_millis(20);

/// Runs until SIGTERM, SIGINT or `weir detach`, then leaves the host as it was.
///
/// `trace` logs every verdict of the packet path.
///
/// # Errors
/// Whatever keeps it from starting. Nothing is attached or left then.
pub async fn run(config: Config, trace: bool) -> Result<()> {
    must_be_possible()?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let follower = Follower::start()?;
    let mut changes = follower.changes();
    let first: Arc<NextHops> = Arc::clone(&changes.borrow_and_update());
    devices_must_exist(&config, &first)?;
    let (reports, mut updates) = mpsc::channel(REPORTS);
    let (registries, sources) = open_sources(&config, &reports)?;
    let socket = ControlSocket::bind(&config.weir.socket)?;

    let mut object = Object::load(capacity(&config), trace)?;
    let plane = Kernel::new(&mut object, capacity(&config))?;
    if trace {
        follow_trace(&mut object)?;
    }
    let mut unresolved = Unresolved::new(&mut object)?;
    let mut attachments = Attachments::new(object, config.interfaces.clone(), &first.devices)?;
    let mut controller = Controller::new(config, plane, registries, Instant::now());
    controller.stand_on(Ground { hops: first, attached: attachments.attached() }, Instant::now());

    let (stop, stopped) = oneshot::channel::<()>();
    let (mut requests, serving) = socket.serve(async { drop(stopped.await) });
    let serving = tokio::spawn(serving);
    let sources: Vec<_> = sources.into_iter().map(tokio::spawn).collect();
    drop(reports);
    let mut followed = controller.addresses();
    let mut clients = Clients::default();
    let mut announced = false;
    let mut detached = None;
    let mut heard = Vec::new();
    tracing::info!("running");

    loop {
        let retry = controller.retry_at();
        tokio::select! {
            // All that waits at once: a burst of snapshots is not published one by one.
            1.. = updates.recv_many(&mut heard, REPORTS) => controller.hear(heard.drain(..), Instant::now()),
            asked = unresolved.next() => {
                clients.ask(asked?, Instant::now());
            }
            () = sleep_until(clients.until()), if clients.until().is_some() => clients.expire(Instant::now()),
            changed = changes.changed() => {
                changed.context("the thread that follows the kernel's routes ended")?;
                let hops = Arc::clone(&changes.borrow_and_update());
                attachments.follow(&hops.devices);
                controller.stand_on(Ground { hops, attached: attachments.attached() }, Instant::now());
            }
            Some(request) = requests.recv() => {
                if let Some(answer) = reply(&controller, &attachments, request) {
                    detached = Some(answer);
                    tracing::info!("asked to detach");
                    break;
                }
            }
            () = sleep_until(retry), if retry.is_some() => controller.reconcile(Instant::now()),
            () = tokio::time::sleep(READINESS), if !announced => {
                if controller.is_ready(Instant::now()) {
                    announced = true;
                    tracing::info!("ready");
                    tell_systemd(&[NotifyState::Ready]);
                }
            }
            _ = terminate.recv() => { tracing::info!("SIGTERM"); break }
            _ = hangup.recv() => tracing::info!("SIGHUP: registries are followed all the time; weir.toml is read at the start"),
            _ = interrupt.recv() => { tracing::info!("SIGINT"); break }
        }
        let mut addresses = controller.addresses();
        addresses.extend(clients.addresses().take(MAX_FOLLOWED - addresses.len()));
        if addresses != followed {
            follower.follow(addresses.clone())?;
            followed = addresses;
        }
    }

    tell_systemd(&[NotifyState::Stopping]);
    for source in sources {
        source.abort();
    }
    // The programs first, then the maps they read.
    drop(attachments);
    drop(controller);
    tracing::info!("detached");
    if let Some(answer) = detached {
        // Whoever asked may have gone.
        drop(answer.send(Ok(())));
    }
    drop((requests, stop));
    // Answers are given within moments; a client that does not read its own is not waited for.
    match tokio::time::timeout(FAREWELL, serving).await {
        Ok(Err(error)) => bail!("the control socket's task failed: {error}"),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// Answers a request; a request to detach is answered by whoever ends.
fn reply(
    controller: &Controller<Kernel>,
    attachments: &Attachments,
    request: Request,
) -> Option<crate::api::server::Answer<()>> {
    let now = Instant::now();
    // Whoever asked may have gone: then nobody misses the answer.
    match request {
        Request::Status(answer) => {
            let status = controller.status(attachments.rows(), attachments.problems().collect(), now);
            drop(answer.send(Ok(status)));
        }
        Request::Services(answer) => drop(answer.send(said(controller.services()))),
        Request::Backends(service, answer) => drop(answer.send(said(controller.backends(service.as_deref())))),
        Request::Limits(answer) => drop(answer.send(said(controller.limits()))),
        Request::Refusals(answer) => drop(answer.send(said(controller.refusals()))),
        Request::Detach(answer) => return Some(answer),
    }
    None
}

fn said<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{error:#}"))
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Refuses on a host where nothing can work.
fn must_be_possible() -> Result<()> {
    for finding in doctor::examine(None) {
        if finding.level == doctor::Level::Bad && matches!(finding.check, "kernel" | "privileges") {
            bail!("{}: {}; {}", finding.check, finding.found, finding.advice.unwrap_or_default());
        }
    }
    Ok(())
}

/// Refuses a configuration that names a device which is not there.
fn devices_must_exist(config: &Config, hops: &NextHops) -> Result<()> {
    for interface in &config.interfaces {
        if !hops.devices.values().any(|device| device.name == interface.name) {
            let known: Vec<&str> = hops.devices.values().map(|device| device.name.as_str()).collect();
            bail!(
                "{}:{}: interface.{}: found no such device on this host, expected one of {}",
                config.path.display(),
                interface.line,
                interface.name,
                known.join(", ")
            );
        }
    }
    Ok(())
}

type Following = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens every registry that a service uses.
fn open_sources(config: &Config, reports: &mpsc::Sender<source::Update>) -> Result<(Registries, Vec<Following>)> {
    let mut registries = Registries::default();
    let mut sources = Vec::new();
    for (name, registry) in &config.registries {
        let wanted: Vec<_> = config
            .services
            .iter()
            .filter(|service| service.registry == *name)
            .map(|service| service.wanted())
            .collect();
        if wanted.is_empty() {
            tracing::info!(registry = name, "no service uses it: not followed");
            continue;
        }
        let source = source::open(name, registry, &wanted)?;
        registries.expect(name, source.describe());
        sources.push(source.follow(Publisher::new(name, reports.clone())));
    }
    Ok((registries, sources))
}

/// Writes what the programs log to this process's log.
#[expect(deprecated, reason = "its successor is unsafe to call; the logger owns its file descriptor and keeps it open")]
fn follow_trace(object: &mut Object) -> Result<()> {
    let logger = aya_log::EbpfLogger::init(object.ebpf()).context("cannot read the log of the programs")?;
    let mut logger = tokio::io::unix::AsyncFd::with_interest(logger, tokio::io::Interest::READABLE)?;
    tokio::spawn(async move {
        loop {
            match logger.readable_mut().await {
                Ok(mut guard) => {
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
                Err(error) => {
                    tracing::error!(%error, "the log of the programs cannot be read any more");
                    return;
                }
            }
        }
    });
    Ok(())
}

/// Outside of systemd nobody listens, and that is fine.
fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}
