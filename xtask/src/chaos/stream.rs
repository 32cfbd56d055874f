//! Line 6: a restart, an upgrade and a crash lose no packet.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use weir_tests::lab::traffic::{UdpStream, udp_buffer_errors};

use super::config::vip;
use super::stage::Stage;
use crate::mark::Mark;
use crate::screen::Screen;

/// Datagrams a second.
const RATE: u32 = 10_000;
/// From so many ports.
const FLOWS: usize = 8;
/// How long it flows before and after.
const MARGIN: Duration = Duration::from_secs(1);
/// How often each is done.
const TIMES: usize = 3;

/// What is done while it flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Deed {
    /// Nothing: what the lab itself loses.
    Nothing,
    /// SIGTERM, and a start.
    Restart,
    /// SIGTERM, and a start of the build with the other program.
    Upgrade,
    /// SIGKILL, and a start.
    Crash,
}

/// How it went, for all times together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Streamed {
    /// What was done.
    pub(crate) deed: Deed,
    /// Datagrams sent.
    pub(crate) sent: u64,
    /// Datagrams that no backend saw.
    pub(crate) lost_there: u64,
    /// Answers that the client did not see.
    pub(crate) lost_back: u64,
    /// How many of them were lost in a full buffer of the test's own sockets.
    pub(crate) lost_in_buffers: u64,
    /// How many frames, of whatever kind, the lab's links have dropped meanwhile because a queue was full: a machine that
    /// is too busy does that.
    pub(crate) dropped_by_links: u64,
    /// Wrong or doubled answers.
    pub(crate) wrong: u64,
    /// Answers of another backend than the flow's first.
    pub(crate) moved: u64,
    /// When datagrams were sent that were lost: tenths of a second after the first, and how many, each time.
    pub(crate) gaps: Vec<Vec<(u64, u64)>>,
}

impl Streamed {
    fn whole(&self) -> bool {
        self.lost_there + self.lost_back + self.wrong + self.moved == 0 && self.sent > 0
    }

    fn words(&self) -> String {
        let Self { deed, sent, lost_there, lost_back, lost_in_buffers, dropped_by_links, wrong, moved, .. } = self;
        let mut words = format!("{}: {sent} sent, {lost_there} lost there, {lost_back} back", deed.name());
        for (count, what) in [
            (lost_in_buffers, "lost in the test's own buffers"),
            (dropped_by_links, "frames dropped by the lab's links"),
            (wrong, "wrong"),
            (moved, "by another backend"),
        ] {
            if *count > 0 {
                words += &format!(", {count} {what}");
            }
        }
        // Of a long gap its beginning and end say enough.
        let gaps = self.gaps.iter().filter_map(|gaps| Some((gaps.first()?.0, gaps.last()?.0)));
        let gaps: Vec<String> =
            gaps.map(|(from, to)| format!("{}.{} to {}.{} s", from / 10, from % 10, to / 10, to % 10)).collect();
        if !gaps.is_empty() {
            words += &format!(" (sent {})", gaps.join(", "));
        }
        words
    }
}

impl Deed {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing done",
            Self::Restart => "restart",
            Self::Upgrade => "upgrade",
            Self::Crash => "kill -9",
        }
    }

    fn do_it(self, stage: &mut Stage) -> Result<()> {
        match self {
            Self::Nothing => std::thread::sleep(MARGIN),
            Self::Restart => {
                stage.weir.stop()?;
                stage.weir.restart(&stage.lab)?;
            }
            Self::Upgrade => {
                stage.weir.stop()?;
                stage.binaries.swap(0, 1);
                stage.weir.restart_with_binary(&stage.lab, &stage.binaries[0])?;
            }
            Self::Crash => {
                stage.weir.kill()?;
                stage.weir.restart(&stage.lab)?;
            }
        }
        Ok(())
    }
}

/// Lets it flow through each.
pub(super) fn stream(stage: &mut Stage, screen: &mut Screen) -> Result<(Vec<Streamed>, [Mark; 2])> {
    screen.heading(&format!("{RATE} datagrams/s through restart, upgrade and kill -9"));
    let mut all = Vec::new();
    for deed in [Deed::Nothing, Deed::Restart, Deed::Upgrade, Deed::Crash] {
        let streamed = through(stage, deed)?;
        screen.line(&streamed.words());
        all.push(streamed);
    }
    let of = |deeds: &[Deed]| {
        let chosen: Vec<&Streamed> = all.iter().filter(|streamed| deeds.contains(&streamed.deed)).collect();
        let words: Vec<String> = chosen.iter().map(|streamed| streamed.words()).collect();
        (words.join("; "), chosen.iter().all(|streamed| streamed.whole()))
    };
    let wanted = "none lost, none by another backend".to_owned();
    let mark = |what, deeds: &[Deed]| {
        let (found, passed) = of(deeds);
        Mark { what, found, wanted: wanted.clone(), passed }
    };
    let marks = [mark("6  restart and upgrade", &[Deed::Restart, Deed::Upgrade]), mark("6  kill -9", &[Deed::Crash])];
    marks.iter().for_each(|mark| screen.mark(mark));
    Ok((all, marks))
}

fn through(stage: &mut Stage, deed: Deed) -> Result<Streamed> {
    let (sent, lost_there, lost_back, lost_in_buffers, wrong, moved) = (0, 0, 0, 0, 0, 0);
    let dropped_by_links = 0;
    let mut all =
        Streamed { deed, sent, lost_there, lost_back, lost_in_buffers, dropped_by_links, wrong, moved, gaps: vec![] };
    let targets = [vip("echo"), vip("echo6")];
    // The first datagrams of all wait for neighbours to be found: not what this is about.
    std::thread::sleep(MARGIN.saturating_sub(warm_up(stage, &targets)?));
    for _ in 0..TIMES {
        let (arrived, dropped, by_links) = (stage.streamed(), buffer_errors(stage)?, stage.dropped()?);
        let stream = UdpStream::start(&stage.crowd().netns, &targets, RATE, FLOWS)?;
        std::thread::sleep(MARGIN);
        let done = deed.do_it(stage);
        std::thread::sleep(MARGIN);
        let report = stream.stop();
        done?;
        let arrived = stage.streamed() - arrived;
        all.sent += report.sent;
        all.lost_there += report.sent.saturating_sub(arrived);
        all.lost_back += report.lost() - report.sent.saturating_sub(arrived).min(report.lost());
        all.lost_in_buffers += buffer_errors(stage)? - dropped;
        all.dropped_by_links += stage.dropped()?.saturating_sub(by_links);
        all.wrong += report.wrong + report.twice + report.refused;
        all.moved += report.moved;
        all.gaps.push(report.gaps);
    }
    Ok(all)
}

fn warm_up(stage: &Stage, targets: &[std::net::SocketAddr]) -> Result<Duration> {
    let stream = UdpStream::start(&stage.crowd().netns, targets, RATE / 10, 4 * FLOWS)?;
    std::thread::sleep(MARGIN / 2);
    Ok(stream.stop().sending)
}

fn buffer_errors(stage: &Stage) -> Result<u64> {
    stage.stream_ends().map(udp_buffer_errors).sum()
}
