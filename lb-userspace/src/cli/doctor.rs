//! `weir doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::Output;
use crate::config::Config;
use crate::doctor::{Finding, Level, examine};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look at the interfaces of this configuration instead of every Ethernet interface
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Args {
    /// Exits with 1 when something is bad.
    pub(super) fn execute(self) -> Result<ExitCode> {
        let config = self.config.as_deref().map(Config::load).transpose()?;
        let findings = examine(config.as_ref());
        self.output.print(&findings, |findings| text(findings))?;
        let bad = findings.iter().any(|finding| finding.level == Level::Bad);
        Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Good => "good",
            Level::Advice => "advice",
            Level::Bad => "BAD",
        };
        let subject = finding.subject.as_ref().map(|subject| format!(" {subject}")).unwrap_or_default();
        text += &format!("{level:<7} {}{subject}: {}\n", finding.check, finding.found);
        if let Some(advice) = &finding.advice {
            text += &format!("        {advice}\n");
        }
    }
    text
}
