//! What has to be known before a change is judged: which flows live, and what registries say that nobody follows yet.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lb_common::abi::FlowKey;
use tokio::task::JoinSet;

use crate::api::server::Answer;
use crate::api::types::{PlanQuestion, PlanReport};
use crate::config::{Config, Share};
use crate::controller::{Controller, must_keep_within};
use crate::dataplane::DataPlane;
use crate::following;
use crate::source::Snapshot;

/// How long flows are looked at.
const CENSUS: Duration = Duration::from_secs(1);

/// What a survey is for.
#[derive(Debug)]
pub enum Purpose {
    /// To say what would happen.
    Plan(PlanQuestion, Answer<PlanReport>),
    /// To do it, if it does not move more than it may. Without an answer by signal.
    Reload(Option<Share>, Option<Answer<PlanReport>>),
}

impl Purpose {
    /// Tells whoever asked.
    fn tell(self, said: Result<PlanReport>) {
        let answer = match self {
            Self::Plan(_, answer) => Some(answer),
            Self::Reload(_, answer) => answer,
        };
        match (answer, said) {
            // Whoever asked may have gone.
            (Some(answer), said) => drop(answer.send(said.map_err(|error| format!("{error:#}")))),
            (None, Ok(_)) => {}
            (None, Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "not reloaded: everything goes on as it was");
            }
        }
    }
}

/// The one survey that may be under way.
#[derive(Debug, Default)]
pub struct Survey {
    asking: JoinSet<Result<BTreeMap<String, Snapshot>>>,
    purpose: Option<(Purpose, Option<Config>)>,
    /// A signal came while one was under way: the configuration may be another one than that which was read.
    again: bool,
}

/// What a survey found, ready to be judged.
#[derive(Debug)]
pub struct Surveyed {
    purpose: Purpose,
    config: Option<Config>,
    answers: Result<BTreeMap<String, Snapshot>>,
}

impl Survey {
    /// Begins one, unless one is under way.
    pub fn begin<P: DataPlane>(&mut self, controller: &mut Controller<P>, purpose: Purpose) {
        if self.purpose.is_some() && matches!(purpose, Purpose::Reload(_, None)) {
            self.again = true;
            return;
        }
        if self.purpose.is_some() {
            purpose.tell(Err(anyhow::anyhow!(
                "another plan or reload is under way: ask again in a moment, it takes at most a few seconds"
            )));
            return;
        }
        let prepared = prepare(controller, &purpose).and_then(|config| {
            controller.begin_census().context("cannot look at the flows")?;
            Ok(config)
        });
        let config = match prepared {
            Ok(config) => config,
            Err(error) => return purpose.tell(Err(error)),
        };
        let asked = config.clone();
        let unheard = config.as_ref().map(|config| controller.unheard(config)).unwrap_or_default();
        self.asking.spawn(async move {
            let census = tokio::time::sleep(CENSUS);
            let answers = match &asked {
                Some(config) => following::ask(config, &unheard).await,
                None => Ok(BTreeMap::new()),
            };
            census.await;
            answers
        });
        self.purpose = Some((purpose, config));
    }

    /// Begins the one that a signal asked for meanwhile.
    pub fn go_on<P: DataPlane>(&mut self, controller: &mut Controller<P>) {
        if std::mem::take(&mut self.again) {
            self.begin(controller, Purpose::Reload(None, None));
        }
    }

    /// Whether one is under way.
    pub const fn is_under_way(&self) -> bool {
        self.purpose.is_some()
    }

    /// Waits until the one under way has what it needs. Cancel safe.
    pub async fn done(&mut self) -> Surveyed {
        let answers = match self.asking.join_next().await {
            Some(Ok(answers)) => answers,
            Some(Err(error)) => Err(error.into()),
            None => std::future::pending().await,
        };
        match self.purpose.take() {
            Some((purpose, config)) => Surveyed { purpose, config, answers },
            None => std::future::pending().await,
        }
    }
}

/// The configuration that is asked about, if it is one.
fn prepare<P: DataPlane>(controller: &Controller<P>, purpose: &Purpose) -> Result<Option<Config>> {
    match purpose {
        Purpose::Plan(PlanQuestion { config: Some(file), backends }, _) => {
            if !backends.is_empty() {
                bail!("found a configuration and backends, expected one of them: ask twice");
            }
            Ok(Some(Config::parse(&file.text, Path::new(&file.path))?))
        }
        Purpose::Plan(PlanQuestion { config: None, backends }, _) if backends.is_empty() => {
            bail!("found neither a configuration nor backends, expected one of them")
        }
        Purpose::Plan(..) => Ok(None),
        Purpose::Reload(..) => {
            let running = controller.config();
            let mut config = Config::load(&running.path)?;
            // Where the socket is may have been said on the command line.
            config.weir.socket.clone_from(&running.weir.socket);
            Ok(Some(config))
        }
    }
}

/// What is to be done with a configuration that was judged good.
#[derive(Debug)]
pub struct Reload {
    /// It.
    pub config: Config,
    /// What registries said that are not followed yet.
    pub answers: BTreeMap<String, Snapshot>,
    report: PlanReport,
    purpose: Purpose,
}

impl Reload {
    /// Tells whoever asked for it how it ended.
    pub fn tell(self, done: Result<()>) {
        let Self { report, purpose, .. } = self;
        purpose.tell(done.map(|()| PlanReport { applied: true, ..report }));
    }
}

impl Surveyed {
    /// Answers, or returns what is to be done.
    pub fn judge<P: DataPlane>(self, controller: &mut Controller<P>) -> Option<Reload> {
        let Self { purpose, config, answers } = self;
        let census = controller.end_census().context("cannot look at the flows");
        let report = census.and_then(|census| judge(controller, &purpose, config.as_ref(), &answers, &census));
        match (purpose, config, answers, report) {
            (purpose @ Purpose::Reload(..), Some(config), Ok(answers), Ok(report)) => {
                Some(Reload { config, answers, report, purpose })
            }
            (purpose, _, _, report) => {
                purpose.tell(report);
                None
            }
        }
    }
}

fn judge<P: DataPlane>(
    controller: &Controller<P>,
    purpose: &Purpose,
    config: Option<&Config>,
    answers: &Result<BTreeMap<String, Snapshot>>,
    census: &[FlowKey],
) -> Result<PlanReport> {
    let answers = answers.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let began = Instant::now();
    let report = match (purpose, config) {
        (Purpose::Plan(question, _), None) => controller.preview_backends(&question.backends, census)?,
        (_, Some(config)) => controller.preview(config, answers, census)?,
        (Purpose::Reload(..), None) => bail!("there is no configuration to take over"),
    };
    tracing::debug!(took = ?began.elapsed(), flows = census.len(), "looked at what a change would do");
    if let Purpose::Reload(max_moved, _) = purpose {
        must_keep_within(&report, *max_moved)?;
    }
    Ok(report)
}
