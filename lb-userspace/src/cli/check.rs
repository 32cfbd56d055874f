//! `weir check`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::{Format, Output, print};
use crate::config::{Config, Unit};
use crate::limiter;
use crate::source;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Verdict {
    good: bool,
    problems: Vec<String>,
}

impl Args {
    pub(super) fn execute(self) -> Result<ExitCode> {
        let config = match Config::load(&self.config) {
            Ok(config) => config,
            Err(error) if self.output.format == Format::Json => {
                let problems = error.to_string().lines().map(str::to_owned).collect();
                self.output.print(&Verdict { good: false, problems }, |_| String::new())?;
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        };
        let wrong = config.registries.values().filter_map(|registry| source::check(registry).err());
        let problems: Vec<String> = wrong.flat_map(|all| all.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        if !problems.is_empty() {
            if self.output.format == Format::Json {
                self.output.print(&Verdict { good: false, problems }, |_| String::new())?;
                return Ok(ExitCode::FAILURE);
            }
            anyhow::bail!(problems.join("\n"));
        }
        match self.output.format {
            Format::Json => self.output.print(&Verdict { good: true, problems: Vec::new() }, |_| String::new())?,
            Format::Text => print(&summary(&config)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(config: &Config) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "{}: good: {} interface(s), {} registry(ies), {} service(s)",
        config.path.display(),
        config.interfaces.len(),
        config.registries.len(),
        config.services.len()
    )?;
    for service in &config.services {
        writeln!(text, "  {} at {}, backends from {}", service.name, service.vip, service.registry)?;
        for limit in &service.limits {
            let unit = match limit.unit {
                Unit::Packets => "packets/s",
                Unit::Bytes => "bytes/s",
            };
            let kept = limiter::true_rate(limit);
            writeln!(text, "    limit {} {unit}, kept as {kept:.3} {unit}", limit.rate)?;
        }
    }
    Ok(text)
}
