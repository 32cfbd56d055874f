//! What a person may ask of the bench.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// What `--only` knows: the bench's parts, and `growth`: the curves of any part, without its tables.
pub const PARTS: [&str; 5] = ["packet", "frames", "connections", "control", "growth"];

/// What to measure, and where to write it. `cargo xtask bench` parses these, and hands them on as they came.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct Arguments {
    /// These parts alone; `growth` is the curves alone
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = PARTS)]
    pub only: Vec<String>,
    /// Write everything to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the curves to this directory, as SVG
    #[arg(long, value_name = "DIR")]
    pub plot: Option<PathBuf>,
    /// How often each cell is measured, in turn with all others; 7 when not said, 3 with --quick
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub rounds: Option<u16>,
    /// Fewer rounds and smaller sizes: a look, not a result
    #[arg(long)]
    pub quick: bool,
    /// Hold a few cells of `packet` to the figures in tests/benches/speed/gate.toml; exit 1 when one is slower
    #[arg(long, conflicts_with_all = ["only", "json", "plot", "quick", "docs"])]
    pub gate: bool,
    /// Measure the gate's cells and make them the figures that the gate holds later runs to
    #[arg(long, requires = "gate")]
    pub accept: bool,
    /// Write this run's tables into docs/performance.md and README.md, its curves and its JSON into docs/performance/
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    pub docs: bool,
    /// What relative paths are relative to
    #[arg(long, value_name = "DIR", hide = true)]
    pub directory: Option<PathBuf>,
    /// What is left out already, a sentence; many times
    #[arg(long, value_name = "SENTENCE", hide = true)]
    pub left_out: Vec<String>,
}

impl Arguments {
    /// The same as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let Self { only, json, plot, rounds, quick, gate, accept, docs, directory, left_out } = self;
        let mut words: Vec<OsString> = Vec::new();
        let flags = [("--quick", quick), ("--gate", gate), ("--accept", accept), ("--docs", docs)];
        words.extend(flags.into_iter().filter(|(_, set)| **set).map(|(flag, _)| flag.into()));
        let only = (!only.is_empty()).then(|| OsString::from(only.join(",")));
        let rounds = rounds.map(|rounds| OsString::from(rounds.to_string()));
        let paths = [("--json", json), ("--plot", plot), ("--directory", directory)];
        let paths = paths.into_iter().map(|(option, path)| (option, path.as_ref().map(OsString::from)));
        let sentences = left_out.iter().map(|sentence| ("--left-out", Some(OsString::from(sentence))));
        for (option, value) in [("--only", only), ("--rounds", rounds)].into_iter().chain(paths).chain(sentences) {
            words.extend(value.map(|value| [OsString::from(option), value]).into_iter().flatten());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: impl IntoIterator<Item = OsString>) -> Arguments {
        let program = std::iter::once(OsString::from("bench"));
        Line::try_parse_from(program.chain(words)).expect("arguments").arguments
    }

    #[test]
    fn what_is_handed_on_is_what_came() {
        let lines = [
            "",
            "--only packet,growth --json a.json --plot b --rounds 9 --quick",
            "--gate --accept --rounds 3",
            "--docs --directory /x --left-out a --left-out b",
        ];
        for line in lines {
            let first = parse(line.split_whitespace().map(OsString::from));
            assert_eq!(format!("{:?}", parse(first.words())), format!("{first:?}"), "{line}");
        }
    }

    #[test]
    fn a_part_that_is_not_there_is_named() {
        let error = Line::try_parse_from(["bench", "--only", "packets"]).unwrap_err().to_string();
        assert!(error.contains("packets") && error.contains("frames"), "{error}");
    }
}
