//! `weir run`: everything put together, from start to the host left as it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};

use crate::api::server::{Answer, ControlSocket, Request};
use crate::api::types::InterfaceRow;
use crate::config::Config;
use crate::controller::{Controller, Registries, capacity};
use crate::dataplane::kernel::{Attachments, Kernel, Object, Unresolved};
use crate::desired::Ground;
use crate::doctor;
use crate::nexthop::{Clients, Follower, MAX_FOLLOWED, NextHops};
use crate::source::{self, Publisher, Report, Update};

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
    must_be_possible(&config)?;
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
    let mut sources = Sources::spawn(sources);
    drop(reports);
    let mut followed = controller.addresses();
    let mut clients = Clients::default();
    let mut announced = false;
    let mut detached = None;
    // What has failed for good while traffic goes on.
    let mut broken = Broken::default();
    let mut heard = Vec::new();
    tracing::info!("running");

    loop {
        let retry = controller.retry_at();
        tokio::select! {
            // All that waits at once: a burst of snapshots is not published one by one.
            1.. = updates.recv_many(&mut heard, REPORTS) => controller.hear(heard.drain(..), Instant::now()),
            ended = sources.ended() => {
                // What it said before comes first, or it would end the problem.
                while let Ok(update) = updates.try_recv() {
                    heard.push(update);
                }
                heard.push(ended);
                controller.hear(heard.drain(..), Instant::now());
            }
            asked = unresolved.next(), if broken.clients.is_none() => match asked {
                Ok(asked) => clients.ask(asked, Instant::now()),
                Err(error) => Broken::note(&mut broken.clients, format!("clients' neighbours are not asked for: {error:#}")),
            },
            () = sleep_until(clients.until()), if clients.until().is_some() => clients.expire(Instant::now()),
            changed = changes.changed(), if broken.hops.is_none() => match changed {
                Ok(()) => {
                    let hops = Arc::clone(&changes.borrow_and_update());
                    attachments.follow(&hops.devices);
                    controller.stand_on(Ground { hops, attached: attachments.attached() }, Instant::now());
                }
                Err(_) => Broken::note(&mut broken.hops, "the thread that follows the kernel's routes has ended".to_owned()),
            },
            Some(request) = requests.recv() => {
                let problems = attachments.problems().chain(broken.problems());
                if let Some(answer) = reply(&controller, attachments.rows(), problems, request) {
                    detached = Some(answer);
                    tracing::info!("asked to detach");
                    break;
                }
            }
            () = sleep_until(retry), if retry.is_some() => controller.reconcile(Instant::now()),
            () = tokio::time::sleep(READINESS), if !announced => {}
            _ = terminate.recv() => { tracing::info!("SIGTERM"); break }
            _ = hangup.recv() => tracing::info!("SIGHUP: registries are followed all the time; weir.toml is read at the start"),
            _ = interrupt.recv() => { tracing::info!("SIGINT"); break }
        }
        // Here and not in a branch of its own: whatever keeps the loop busy must not keep this from being said.
        if !announced && controller.is_ready(Instant::now()) {
            announced = true;
            tracing::info!("ready");
            tell_systemd(&[NotifyState::Ready]);
        }
        let mut addresses = controller.addresses();
        addresses.extend(clients.addresses().take(MAX_FOLLOWED - addresses.len()));
        if addresses != followed {
            if let Err(error) = follower.follow(addresses.clone()) {
                tracing::error!(error = format!("{error:#}"), "the addresses of before are followed");
            }
            followed = addresses;
        }
    }

    tell_systemd(&[NotifyState::Stopping]);
    drop(sources);
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
    interfaces: Vec<InterfaceRow>,
    problems: impl Iterator<Item = String>,
    request: Request,
) -> Option<Answer<()>> {
    // Whoever asked may have gone: then nobody misses the answer.
    match request {
        Request::Status(answer) => {
            let status = controller.status(interfaces, problems.collect(), Instant::now());
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

/// Refuses on a host where nothing can work, and says what else will not.
fn must_be_possible(config: &Config) -> Result<()> {
    for finding in doctor::examine(Some(config)) {
        let doctor::Finding { check, subject, level, found, advice } = finding;
        let advice = advice.unwrap_or_default();
        match (level, check) {
            (doctor::Level::Bad, "kernel" | "privileges") => bail!("{check}: {found}; {advice}"),
            // Said with a line of the configuration, and with the process that holds it, further on.
            (doctor::Level::Bad, "interface" | "program") | (doctor::Level::Good | doctor::Level::Advice, _) => {}
            (doctor::Level::Bad, _) => tracing::warn!(check, subject, found, advice, "weir doctor finds fault"),
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

/// What has ended that never should: traffic goes on without it, and `weir status` says so.
#[derive(Debug, Default)]
struct Broken {
    hops: Option<String>,
    clients: Option<String>,
}

impl Broken {
    fn note(place: &mut Option<String>, problem: String) {
        let problem = format!("{problem}; traffic goes on by what is known, start Weir anew");
        tracing::error!("{problem}");
        *place = Some(problem);
    }

    fn problems(&self) -> impl Iterator<Item = String> {
        self.hops.iter().chain(&self.clients).cloned()
    }
}

/// The tasks that follow registries. They end when this is dropped.
#[derive(Debug)]
struct Sources {
    tasks: JoinSet<()>,
    registries: BTreeMap<Id, Arc<str>>,
}

impl Sources {
    fn spawn(sources: Vec<Following>) -> Self {
        let mut tasks = JoinSet::new();
        let registries = sources.into_iter().map(|(registry, following)| (tasks.spawn(following).id(), registry));
        Self { registries: registries.collect(), tasks }
    }

    /// Waits until one has ended, which none should, and says what became of its registry. Cancel safe.
    async fn ended(&mut self) -> Update {
        loop {
            let (id, why) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, ()))) => (id, String::new()),
                Some(Err(error)) => (error.id(), format!(" ({error})")),
                None => std::future::pending().await,
            };
            if let Some(registry) = self.registries.remove(&id) {
                let problem = format!("what follows it has ended{why}: start Weir anew");
                return Update { registry, report: Report::Problem(problem) };
            }
        }
    }
}

/// A registry, and what follows it.
type Following = (Arc<str>, std::pin::Pin<Box<dyn Future<Output = ()> + Send>>);

/// Opens every registry that a service uses.
fn open_sources(config: &Config, reports: &mpsc::Sender<Update>) -> Result<(Registries, Vec<Following>)> {
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
        // Malformed from the start there is no last good state that could stand.
        source::check(registry).map_err(|problems| anyhow::anyhow!(problems))?;
        let source = source::open(name, registry, &wanted)?;
        registries.expect(name, source.describe());
        sources.push((name.as_str().into(), source.follow(Publisher::new(name, reports.clone()))));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_registry_that_nothing_follows_any_more_has_a_problem() {
        let ends: Following = ("dc1".into(), Box::pin(async {}));
        let panics: Following = ("dc1".into(), Box::pin(async { panic!("on purpose") }));
        let goes_on: Following = ("dc1".into(), Box::pin(std::future::pending()));
        for (ends, why) in [(ends, "ended: "), (panics, "on purpose")] {
            let mut sources = Sources::spawn(vec![ends]);
            let Update { registry, report: Report::Problem(problem) } = sources.ended().await else { panic!() };
            assert_eq!(&*registry, "dc1");
            assert!(problem.contains(why), "{problem}");
        }
        let mut sources = Sources::spawn(vec![goes_on]);
        let waited = tokio::time::timeout(Duration::from_millis(1), sources.ended()).await;
        assert!(waited.is_err());
    }
}
