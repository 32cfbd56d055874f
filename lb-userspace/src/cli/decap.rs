//! `weir decap`.

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use lb_common::abi::Settings;
use tracing_subscriber::EnvFilter;

use super::table::{Side, table};
use super::{Format, Output, print};
use crate::config;
use crate::decap::{Options, Report, Sender};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Ethernet device that tunnels arrive at
    #[arg(long, value_name = "DEV")]
    iface: String,
    /// A balancer's address, or a prefix of them: packets are unwrapped from there only. Can be said several times
    #[arg(long, value_name = "SENDER[/PREFIX]", required = true)]
    from: Vec<Sender>,
    /// An address that tunnels end at. Can be said several times [default: the device's own addresses]
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<IpAddr>,
    /// The UDP port that gue comes to
    #[arg(long, value_name = "PORT", default_value_t = Settings::GUE_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    gue_port: u16,
    /// How to attach: in the driver, in the stack, or as the driver allows
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Auto)]
    mode: Mode,
    /// Leave the MSS of SYN-ACKs as it is
    #[arg(long, conflicts_with = "mtu")]
    no_clamp: bool,
    /// The largest packet the way from the balancers carries, for the MSS of SYN-ACKs [default: the device's MTU]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(576..=65535))]
    mtu: Option<u32>,
    /// Print what was counted so often, besides at the end and at SIGUSR1
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    stats: Option<u64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// In the driver, or else in the stack
    Auto,
    /// In the driver
    Native,
    /// In the stack
    Skb,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let filter = EnvFilter::builder().with_env_var("WEIR_LOG").with_default_directive(tracing::Level::INFO.into());
        tracing_subscriber::fmt()
            .with_env_filter(filter.from_env_lossy())
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
        let options = Options {
            interface: self.iface,
            senders: self.from,
            ours: self.to.into_iter().collect(),
            gue_port: self.gue_port,
            mode: match self.mode {
                Mode::Auto => config::Mode::Auto,
                Mode::Native => config::Mode::Native,
                Mode::Skb => config::Mode::Skb,
            },
            clamps: !self.no_clamp,
            mtu: self.mtu,
            every: self.stats.map(Duration::from_secs),
        };
        let format = self.output.format;
        crate::decap::run(options, |report| print(&shown(report, format)?)).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One report: a table of what was seen, or a line of JSON with all there is.
fn shown(report: &Report, format: Format) -> Result<String> {
    if format == Format::Json {
        return Ok(serde_json::to_string(report)? + "\n");
    }
    let heads = [("OUTCOME", Side::Left), ("ACTION", Side::Left), ("PACKETS", Side::Right), ("MEANING", Side::Left)];
    let rows = report.seen().map(|row| {
        let meaning = if row.advice.is_empty() {
            row.meaning.to_owned()
        } else {
            format!("{} To do: {}.", row.meaning, row.advice)
        };
        vec![row.name.to_owned(), row.action.to_owned(), row.packets.to_string(), meaning]
    });
    Ok(table(&heads, &rows.collect::<Vec<_>>(), &format!("no packet has come in by {}", report.interface)))
}
