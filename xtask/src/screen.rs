//! What a person sees of a long task: headings, bars that move on a terminal and stand still elsewhere, and marks.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::mark::Mark;

/// How often bars are drawn anew.
const FRAME: Duration = Duration::from_millis(80);
/// Cells of a bar.
const WIDTH: usize = 40;

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    /// What it is of.
    pub(crate) name: String,
    /// How full it is, 0 to 1.
    pub(crate) part: f64,
    /// How full it should be.
    pub(crate) expected: Option<f64>,
    /// What is written behind it.
    pub(crate) note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A terminal: bars move, colours.
    Terminal,
    /// A file or a pipe: bars are written once, when they are full.
    Plain,
    /// Nobody looks.
    Silent,
}

/// Where a task is shown.
#[derive(Debug)]
pub(crate) struct Screen {
    kind: Kind,
    started: Instant,
    drawn: Option<Instant>,
    /// The bars as they were last given, and how many lines of them are on the terminal.
    last: Vec<Bar>,
    lines: usize,
}

impl Screen {
    /// Standard output, or nothing at all.
    pub(crate) fn new(silent: bool) -> Self {
        let kind = match (silent, std::io::stdout().is_terminal()) {
            (true, _) => Kind::Silent,
            (false, true) => Kind::Terminal,
            (false, false) => Kind::Plain,
        };
        Self { kind, started: Instant::now(), drawn: None, last: vec![], lines: 0 }
    }

    /// The title of what comes next.
    pub(crate) fn heading(&mut self, text: &str) {
        let at = self.started.elapsed().as_secs_f64();
        self.write(&format!("\n{} {}\n", self.coloured("1", text), self.coloured("2", &format!("[{at:.1} s]"))));
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) {
        self.write(&format!("   {text}\n"));
    }

    /// Whether it is time for [`Screen::bars`], for those who find bars costly to make.
    pub(crate) fn due(&self) -> bool {
        self.kind == Kind::Terminal && self.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME)
    }

    /// Shows how far things are, if it is time; keeps it for [`Screen::bars_done`] in any case.
    pub(crate) fn bars(&mut self, bars: &[Bar]) {
        self.last = bars.to_vec();
        if self.kind == Kind::Terminal && self.due() {
            self.draw();
        }
    }

    /// Draws the bars as they were last, and leaves them.
    pub(crate) fn bars_done(&mut self) {
        if self.kind != Kind::Silent && !self.last.is_empty() {
            self.draw();
        }
        self.last.clear();
        self.lines = 0;
        self.drawn = None;
    }

    /// Whether a mark was met.
    pub(crate) fn mark(&mut self, mark: &Mark) {
        let Mark { what, found, wanted, passed } = mark;
        let sign = if *passed { self.coloured("32", "✓") } else { self.coloured("31", "✗") };
        self.write(&format!("   {sign} {what}: {found} (wanted: {wanted})\n"));
    }

    /// All marks again, in one place, and how long it took.
    pub(crate) fn summary(&mut self, marks: &[&Mark], seconds: f64) {
        self.heading("Summary");
        marks.iter().for_each(|mark| self.mark(mark));
        let met = marks.iter().all(|mark| mark.passed);
        let outcome = if met { "every mark was met" } else { "a mark was missed" };
        self.line(&format!("{outcome}, in {seconds:.1} s"));
    }

    fn draw(&mut self) {
        let mut text = String::new();
        if self.lines > 0 {
            // Back up to where the bars begin; each line is then cleared and written anew.
            text += &format!("\x1b[{}A", self.lines);
        }
        let clear = if self.kind == Kind::Terminal { "\x1b[2K" } else { "" };
        for bar in &self.last {
            text += &format!("{clear}   {:<12} {} {}\n", bar.name, cells(bar), bar.note);
        }
        if self.kind == Kind::Terminal {
            // Without wrapping (DECAWM): on a narrow terminal too a bar is one line, or the way back up would be wrong.
            text = format!("\x1b[?7l{text}\x1b[?7h");
        }
        self.lines = if self.kind == Kind::Terminal { self.last.len() } else { 0 };
        self.drawn = Some(Instant::now());
        self.write(&text);
    }

    fn coloured(&self, code: &str, text: &str) -> String {
        if self.kind == Kind::Terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A terminal that went away is no reason to stop: the figures are still to be had by the exit code.
    fn write(&self, text: &str) {
        if self.kind != Kind::Silent {
            let mut out = std::io::stdout().lock();
            drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        }
    }
}

/// The bar itself, with `│` where it should end.
fn cells(bar: &Bar) -> String {
    let at = |part: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bar's cells")]
        let cells = (part.clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
        cells
    };
    let (full, expected) = (at(bar.part), bar.expected.map(|part| at(part).saturating_sub(1)));
    let cell = |index: usize| match index {
        _ if Some(index) == expected => '│',
        _ if index < full => '█',
        _ => '░',
    };
    (0..WIDTH).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_what_is_and_what_should_be() {
        let bar = |part, expected| cells(&Bar { name: String::new(), part, expected, note: String::new() });
        assert_eq!(bar(0.5, None), "█".repeat(20) + &"░".repeat(20));
        assert_eq!(bar(0.25, Some(0.5)), "█".repeat(10) + &"░".repeat(9) + "│" + &"░".repeat(20));
        assert_eq!(bar(7.0, Some(0.0)).chars().count(), WIDTH);
    }
}
