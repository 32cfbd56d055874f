//! Looks at the host and says what is good for Weir, what is not, and what to do about it.
//!
//! Looking ([`gather()`]) and judging ([`findings()`]) are apart: what is judged is data, so every judgement can be tested
//! without a host that suffers from it.

mod facts;
mod gather;
mod host;
mod interface;
mod state;

use serde::Serialize;

use crate::config::Config;

pub use facts::{DeviceFacts, Facts, InterfaceFacts, Program, Wanted};
pub use gather::gather;

/// How a finding bears on Weir.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Weir works, but better, or for more traffic, with the advice taken.
    Advice,
    /// Weir does not work, or loses traffic.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word: `kernel`, `privileges`, `xdp`…
    pub check: &'static str,
    /// Which of several, such as the interface; none for the host.
    pub subject: Option<String>,
    /// How it bears on Weir.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do, where something can be: a sentence with the exact command.
    pub advice: Option<String>,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, subject: None, level: Level::Good, found: found.into(), advice: None }
    }

    fn advice(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Advice, advice: Some(advice.into()), ..Self::good(check, found) }
    }

    fn bad(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Bad, ..Self::advice(check, found, advice) }
    }

    fn about(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }
}

/// Looks at the host and at the interfaces that are configured, or, without a configuration, at every Ethernet
/// interface that is up and belongs to no bridge or bond. In the calling thread's network namespace; changes nothing.
///
/// The host's findings come first, then each interface's.
pub fn examine(config: Option<&Config>) -> Vec<Finding> {
    findings(&gather(&Wanted::of(config)))
}

/// Judges what was found.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let interfaces = facts.interfaces.iter().flat_map(|interface| interface::findings(facts, interface));
    host::findings(facts).into_iter().chain(interfaces).collect()
}

#[cfg(test)]
mod tests;
