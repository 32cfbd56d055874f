//! The gate: what a few cells of the bench may take, as ratios to the floor, and whether they do.
//!
//! A ratio is of the quickest round of the cell to the quickest round of its floor: what disturbs a round only ever makes
//! it longer. A cell that seems too slow is measured again, and its quickest round counts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// How often a cell that seems too slow is measured again.
const RETRIES: usize = 3;

/// What cells took when somebody accepted it: tests/benches/speed/gate.toml.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// The processor that they were measured on.
    pub processor: String,
    /// How many times as much a cell may take.
    pub tolerance: f64,
    /// Ratios to the floor, by the cells' names.
    pub cells: BTreeMap<String, f64>,
}

/// One cell, measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// The quickest round, in nanoseconds a packet.
    pub own_ns: f64,
    /// The quickest round of its floor.
    pub floor_ns: f64,
}

/// One cell, held to what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// The ratio in the file; `None` when the cell is not in it.
    pub committed: Option<f64>,
    /// The ratio that was measured; `None` when there is no such cell any more.
    pub measured: Option<f64>,
    /// The largest ratio that passes.
    pub allowed: Option<f64>,
}

impl Figures {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is not such a file, or a figure in it is no ratio.
    pub fn parse(text: &str) -> Result<Self> {
        let figures: Self = toml::from_str(text).context("the gate's file is not what `--gate --accept` writes")?;
        let tolerance = figures.tolerance;
        ensure!(tolerance.is_finite() && tolerance >= 1.0, "tolerance is {tolerance}: expected a factor of 1 or more");
        for (name, ratio) in &figures.cells {
            ensure!(ratio.is_finite() && *ratio > 0.0, "the ratio of \"{name}\" is {ratio}: expected one above 0");
        }
        Ok(figures)
    }

    /// What `measure` measures, in place of what was there. It is asked for all cells as often as [`Figures::hold`] may ask
    /// for one.
    ///
    /// # Errors
    /// When `measure` fails.
    pub fn accepting(
        &self,
        processor: &str,
        mut measure: impl FnMut(&[String]) -> Result<Vec<Measured>>,
    ) -> Result<Self> {
        let mut measured = measure(&[])?;
        for _ in 0..RETRIES {
            quickest(&mut measured, &measure(&[])?);
        }
        let cells = measured.into_iter().map(|cell| (cell.name.clone(), cell.ratio()));
        Ok(Self { processor: processor.to_owned(), tolerance: self.tolerance, cells: cells.collect() })
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut text = format!(
            "# What cells of the bench may take: nanoseconds a packet, as ratios to the floor of the same run. Written by\n\
             # `cargo xtask bench --gate --accept`; a cell that takes more than tolerance times its ratio fails the gate.\n\
             processor = {}\ntolerance = {:?}\n\n[cells]\n",
            quoted(&self.processor),
            self.tolerance
        );
        for (name, ratio) in &self.cells {
            text += &format!("{} = {ratio:.2}\n", quoted(name));
        }
        text
    }

    /// Holds what `measure` measures to the figures. It is called with the names of the cells that are wanted; with none
    /// for all of them. What seems too slow is wanted again, three times.
    ///
    /// # Errors
    /// When `measure` fails.
    pub fn hold(&self, mut measure: impl FnMut(&[String]) -> Result<Vec<Measured>>) -> Result<Vec<Held>> {
        let mut measured = measure(&[])?;
        for _ in 0..RETRIES {
            let slow: Vec<String> =
                self.judge(&measured).into_iter().filter(Held::is_slow).map(|held| held.name).collect();
            if slow.is_empty() {
                break;
            }
            quickest(&mut measured, &measure(&slow)?);
        }
        Ok(self.judge(&measured))
    }

    fn judge(&self, measured: &[Measured]) -> Vec<Held> {
        let held = |name: &str, measured: Option<f64>| {
            let committed = self.cells.get(name).copied();
            let allowed = committed.map(|ratio| ratio * self.tolerance);
            Held { name: name.to_owned(), committed, measured, allowed }
        };
        let there = measured.iter().map(|cell| held(&cell.name, Some(cell.ratio())));
        let gone = self.cells.keys().filter(|name| !measured.iter().any(|cell| cell.name == **name));
        there.chain(gone.map(|name| held(name, None))).collect()
    }
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.own_ns / self.floor_ns
    }
}

/// Takes over the rounds of `again` that were quicker.
fn quickest(measured: &mut [Measured], again: &[Measured]) {
    for again in again {
        if let Some(first) = measured.iter_mut().find(|first| first.name == again.name) {
            first.own_ns = first.own_ns.min(again.own_ns);
            first.floor_ns = first.floor_ns.min(again.floor_ns);
        }
    }
}

impl Held {
    /// How many times as much as in the file.
    pub fn factor(&self) -> Option<f64> {
        Some(self.measured? / self.committed?)
    }

    /// Whether it took more than it may.
    pub fn is_slow(&self) -> bool {
        // What is no number does not pass.
        self.measured.zip(self.allowed).is_some_and(|(measured, allowed)| measured.is_nan() || measured > allowed)
    }

    /// Why it does not pass, if it does not.
    pub fn breach(&self) -> Option<&'static str> {
        match (self.committed, self.measured) {
            (None, _) => Some("not in the file"),
            (_, None) => Some("not measured any more"),
            _ => self.is_slow().then_some("slower"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "processor = \"p\"\ntolerance = 1.25\n[cells]\n\"a \\\"quoted\\\", v4\" = 2.0\nb = 3.0\n";

    fn figures() -> Figures {
        Figures::parse(FILE).unwrap()
    }

    fn measured(cells: &[(&str, f64)]) -> Vec<Measured> {
        let measured = |&(name, own_ns): &(&str, f64)| Measured { name: name.to_owned(), own_ns, floor_ns: 10.0 };
        cells.iter().map(measured).collect()
    }

    /// What the gate says of cells that always take as much.
    fn breaches(cells: &[(&str, f64)]) -> Vec<(String, &'static str)> {
        let held = figures().hold(|_| Ok(measured(cells))).unwrap();
        held.into_iter().filter_map(|cell| Some((cell.name.clone(), cell.breach()?))).collect()
    }

    const A: &str = "a \"quoted\", v4";

    #[test]
    fn what_takes_as_much_as_it_took_passes() {
        assert_eq!(breaches(&[(A, 20.0), ("b", 30.0)]), []);
        assert_eq!(breaches(&[(A, 24.9), ("b", 1.0)]), []);
    }

    #[test]
    fn a_figure_that_is_raised_fails() {
        assert_eq!(breaches(&[(A, 25.1), ("b", 30.0)]), [(A.to_owned(), "slower")]);
        assert_eq!(breaches(&[(A, 20.0), ("b", f64::NAN)]), [("b".to_owned(), "slower")]);
    }

    #[test]
    fn a_lowered_figure_in_the_file_fails() {
        let mut figures = figures();
        figures.cells.insert("b".to_owned(), 2.0);
        let held = figures.hold(|_| Ok(measured(&[(A, 20.0), ("b", 30.0)]))).unwrap();
        assert_eq!(held[1].breach(), Some("slower"));
        assert_eq!((held[1].factor(), held[1].allowed), (Some(1.5), Some(2.5)));
    }

    #[test]
    fn cells_that_come_or_go_are_to_be_accepted() {
        let found = breaches(&[(A, 20.0), ("c", 1.0)]);
        assert_eq!(found, [("c".to_owned(), "not in the file"), ("b".to_owned(), "not measured any more")]);
    }

    #[test]
    fn what_seems_slow_is_measured_again_alone_and_its_quickest_round_counts() {
        let mut calls = vec![];
        let held = figures().hold(|wanted| {
            calls.push(wanted.to_vec());
            // The third time the machine is quiet.
            let b = [90.0, 80.0, 31.0][calls.len() - 1];
            let all = measured(&[(A, 20.0), ("b", b)]);
            Ok(all.into_iter().filter(|cell| wanted.is_empty() || wanted.contains(&cell.name)).collect())
        });
        assert!(held.unwrap().iter().all(|cell| cell.breach().is_none()));
        assert_eq!(calls, [vec![], vec!["b".to_owned()], vec!["b".to_owned()]]);
    }

    #[test]
    fn a_slow_cell_is_not_measured_for_ever() {
        let mut calls = 0;
        let held = figures().hold(|_| {
            calls += 1;
            Ok(measured(&[(A, 20.0), ("b", 90.0)]))
        });
        assert_eq!((held.unwrap()[1].breach(), calls), (Some("slower"), 1 + RETRIES));
    }

    #[test]
    fn what_is_accepted_is_the_quickest_and_passes_afterwards() {
        let mut calls = 0;
        let accepted = figures().accepting("q", |_| {
            calls += 1;
            Ok(measured(&[(A, 90.0 + f64::from(calls)), ("c", 20.0)]))
        });
        let accepted = Figures::parse(&accepted.unwrap().text()).unwrap();
        assert_eq!((accepted.processor.as_str(), accepted.tolerance), ("q", 1.25));
        assert_eq!(accepted.cells, BTreeMap::from([(A.to_owned(), 9.1), ("c".to_owned(), 2.0)]));
        let held = accepted.hold(|_| Ok(measured(&[(A, 91.0), ("c", 20.0)]))).unwrap();
        assert!(held.iter().all(|cell| cell.breach().is_none()));
    }

    #[test]
    fn a_file_with_mistakes_is_refused() {
        for (mistake, said) in [
            ("tolerance = 1.25", "tolerance = 0.5"),
            ("b = 3.0", "b = 0.0"),
            ("b = 3.0", "b = nan"),
            ("processor", "processors"),
        ] {
            let text = FILE.replace(mistake, said);
            assert!(Figures::parse(&text).is_err(), "{text}");
        }
    }
}
