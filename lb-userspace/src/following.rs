//! The tasks that follow registries, as configurations come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::config::{Config, Registry};
use crate::controller::Registries;
use crate::source::{self, Publisher, Report, Snapshot, Update, Wanted};

/// How long a registry that is asked once may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The tasks that follow registries. They end when this is dropped.
#[derive(Debug)]
pub struct Following {
    tasks: JoinSet<()>,
    running: BTreeMap<String, Task>,
    by_id: BTreeMap<Id, Arc<str>>,
    reports: mpsc::Sender<Update>,
}

/// What is followed, and how it is stopped.
#[derive(Debug)]
struct Task {
    registry: Registry,
    wanted: Vec<Wanted>,
    abort: AbortHandle,
}

/// A registry that was opened and is not followed yet.
type Opened = (String, Registry, Vec<Wanted>, Box<dyn source::Source>);

impl Following {
    /// Follows nothing yet; what registries say goes to `reports`.
    pub fn new(reports: mpsc::Sender<Update>) -> Self {
        Self { tasks: JoinSet::new(), running: BTreeMap::new(), by_id: BTreeMap::new(), reports }
    }

    /// Follows what a configuration wants, and nothing else: all of it, or, after an error, what was followed before.
    ///
    /// `strict` refuses a registry that is malformed from the start: there is no last good state that could stand.
    ///
    /// # Errors
    /// When a registry cannot be followed at all.
    pub fn follow(&mut self, config: &Config, registries: &mut Registries, strict: bool) -> Result<()> {
        let mut opened: Vec<Opened> = Vec::new();
        let mut kept: Vec<String> = Vec::new();
        for (name, registry) in &config.registries {
            let wanted = wanted(config, name);
            if wanted.is_empty() && !registry.declares() {
                tracing::info!(registry = name, "no service uses it: not followed");
                continue;
            }
            if self.running.get(name).is_some_and(|task| task.registry == *registry && task.wanted == wanted) {
                kept.push(name.clone());
                continue;
            }
            if strict {
                source::check(registry).map_err(|problems| anyhow::anyhow!(problems))?;
            }
            let source = source::open(name, registry, &wanted)?;
            opened.push((name.clone(), registry.clone(), wanted, source));
        }
        self.running.retain(|name, task| {
            let stays = kept.contains(name);
            if !stays {
                task.abort.abort();
                self.by_id.remove(&task.abort.id());
                registries.part(name);
            }
            stays
        });
        for (name, registry, wanted, source) in opened {
            registries.expect(&name, source.describe());
            let publisher = Publisher::new(&name, self.reports.clone());
            let abort = self.tasks.spawn(source.follow(publisher));
            self.by_id.insert(abort.id(), name.as_str().into());
            self.running.insert(name, Task { registry, wanted, abort });
        }
        Ok(())
    }

    /// Waits until one has ended, which none should, and says what became of its registry. Cancel safe.
    pub async fn ended(&mut self) -> Update {
        loop {
            let (id, why) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, ()))) => (id, String::new()),
                Some(Err(error)) => (error.id(), format!(" ({error})")),
                None => std::future::pending().await,
            };
            // One that was told to end has no place any more.
            if let Some(registry) = self.by_id.remove(&id) {
                let problem = format!("what follows it has ended{why}: start Weir anew");
                return Update { registry, report: Report::Problem(problem) };
            }
        }
    }
}

/// What the services of a configuration want of a registry.
fn wanted(config: &Config, registry: &str) -> Vec<Wanted> {
    // One that tells everything is not followed anew when a service is added.
    if config.registries.get(registry).is_some_and(Registry::declares) {
        return Vec::new();
    }
    config.services.iter().filter(|service| service.registry == registry).map(|service| service.wanted()).collect()
}

/// Asks registries of a configuration once.
///
/// # Errors
/// Names the first one that does not answer, or cannot be read.
pub async fn ask(config: &Config, names: &[String]) -> Result<BTreeMap<String, Snapshot>> {
    let mut answers = BTreeMap::new();
    let mut asking = JoinSet::new();
    for name in names {
        let Some(registry) = config.registries.get(name) else { continue };
        let source = source::open(name, registry, &wanted(config, name))?;
        let name = name.clone();
        asking.spawn(async move {
            let (reports, mut heard) = mpsc::channel(1);
            let following = tokio::spawn(source.follow(Publisher::new(&name, reports)));
            let first = tokio::time::timeout(ANSWER, async {
                // What it declares comes before it.
                loop {
                    match heard.recv().await {
                        Some(Update { report: Report::Declared(_), .. }) => {}
                        first => break first,
                    }
                }
            });
            let first = first.await;
            following.abort();
            (name, first)
        });
    }
    while let Some(asked) = asking.join_next().await {
        let (name, first) = asked?;
        match first {
            Ok(Some(Update { report: Report::Snapshot(snapshot), .. })) => {
                answers.insert(name, snapshot);
            }
            Ok(Some(Update { report: Report::Problem(problem), .. })) => {
                anyhow::bail!("registry {name} cannot be asked, and without it nobody knows what would move: {problem}")
            }
            Ok(Some(Update { report: Report::Declared(_), .. }) | None) | Err(_) => anyhow::bail!(
                "registry {name} did not answer within {} s, and without it nobody knows what would move",
                ANSWER.as_secs()
            ),
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_registry_that_nothing_follows_any_more_has_a_problem() {
        for (panics, why) in [(false, "ended: "), (true, "on purpose")] {
            let (reports, _heard) = mpsc::channel(1);
            let mut following = Following::new(reports);
            let abort = following.tasks.spawn(async move { assert!(!panics, "on purpose") });
            following.by_id.insert(abort.id(), "dc1".into());
            let Update { registry, report: Report::Problem(problem) } = following.ended().await else { panic!() };
            assert_eq!(&*registry, "dc1");
            assert!(problem.contains(why), "{problem}");
        }
    }

    #[tokio::test]
    async fn one_that_goes_on_is_waited_for() {
        let (reports, _heard) = mpsc::channel(1);
        let mut following = Following::new(reports);
        let abort = following.tasks.spawn(std::future::pending());
        following.by_id.insert(abort.id(), "dc1".into());
        assert!(tokio::time::timeout(Duration::from_millis(1), following.ended()).await.is_err());
    }
}
