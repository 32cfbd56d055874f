//! The traffic of a run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_tests::lab::traffic::{Fleet, Lives, Manners, ShortLoad};
use weir_tests::lab::wait_until;

use super::config::{IDLE, vip};
use super::stage::Stage;

/// Short connections a second.
pub(super) const SHORT_PER_S: u32 = 200;
/// One connection of a fleet in so many ends and is opened anew now and then, so that backends which come get some.
const MORTAL_ONE_IN: usize = 5;
const LONGEST_LIFE: Duration = Duration::from_secs(60);
/// How long fleets have to open, or to end.
const FLEETS_WITHIN: Duration = Duration::from_secs(60);

/// The long-lived connections.
pub(super) struct Fleets {
    pub(super) tcp: Fleet,
    pub(super) udp: Fleet,
    wanted: (usize, usize),
}

impl Fleets {
    /// Starts them and waits until every connection is open.
    pub(super) fn open(stage: &Stage, connections: usize, udp: usize, seed: u64) -> Result<Self> {
        let manners = |services: [&str; 2], connections| Manners {
            lives: Lives::Some { one_in: MORTAL_ONE_IN, longest: LONGEST_LIFE },
            seed,
            // Three times in an idle time-out, and with room for an answer that is late.
            ..Manners::new(services.map(vip).to_vec(), connections, IDLE.mul_f64(0.3))
        };
        let fleets = Self {
            tcp: Fleet::tcp(stage.residents(), manners(["web", "web6"], connections), &stage.ledger),
            udp: Fleet::udp(stage.residents(), manners(["echo", "echo6"], udp), &stage.ledger),
            wanted: (connections, udp),
        };
        let opened = Instant::now();
        wait_until("all long-lived connections to be open", FLEETS_WITHIN, || {
            // Some are just between two lives.
            let enough = |open: usize, wanted: usize| open + wanted / 100 >= wanted;
            let done = enough(fleets.tcp.open(), connections) && enough(fleets.udp.open(), udp);
            done.then_some(())
        })
        .with_context(|| fleets.words(opened))?;
        Ok(fleets)
    }

    /// Ends them in good order, and says when the last connection was closed.
    pub(super) fn close(self) -> Result<Instant> {
        self.tcp.end();
        self.udp.end();
        let ended = wait_until("all long-lived connections to end", FLEETS_WITHIN, || {
            (self.tcp.ended() && self.udp.ended()).then(Instant::now)
        });
        ended.with_context(|| self.words(Instant::now()))
    }

    fn words(&self, since: Instant) -> String {
        format!(
            "{} of {} TCP and {} of {} UDP connections are open after {:.1} s",
            self.tcp.open(),
            self.wanted.0,
            self.udp.open(),
            self.wanted.1,
            since.elapsed().as_secs_f64()
        )
    }
}

/// Starts the short connections.
pub(super) fn visitors(stage: &Stage) -> ShortLoad {
    ShortLoad::start(stage.visitors(), vec![vip("web"), vip("web6")], SHORT_PER_S, &stage.ledger)
}
