//! `weir limits set` and `weir limits unset`.

use std::process::ExitCode;

use anyhow::Result;

use super::rows;
use crate::api::types::{LimitOrder, LimitRow, LimitsOf};
use crate::cli::{Output, Socket};

#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// The service
    service: String,
    /// Which limit, where there are several: what has a bucket of its own
    #[arg(long, value_name = "WHAT", value_parser = ["service", "source", "source-prefix", "backend"])]
    per: Option<String>,
    /// Which limit per source-prefix, where there are several: its prefix_v4
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(1..=32))]
    prefix_v4: Option<u8>,
    /// Which limit per source-prefix, where there are several: its prefix_v6
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(1..=128))]
    prefix_v6: Option<u8>,
    /// Which limit, where there are several: what it counts
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Which limit, where there are several: whose packets it counts
    #[arg(long, value_name = "WAY", value_parser = ["in", "out"])]
    direction: Option<String>,
    /// Its rate from now on: a number and its unit, such as "50 Mbit/s", or of what is not counted in bits a number alone
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// How many units may come at once, in bytes where the rate is in bits
    #[arg(long, value_name = "N", conflicts_with = "strict")]
    burst: Option<u64>,
    /// No burst: packets are spaced evenly
    #[arg(long)]
    strict: bool,
    /// What becomes of packets that are over it
    #[arg(long, value_name = "WHAT", value_parser = ["drop", "mark", "count", "delay"])]
    over: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
pub(super) struct Unset {
    /// The service
    service: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Set {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let Self { service, per, prefix_v4, prefix_v6, unit, direction, rate, burst, strict, over, output, socket } =
            self;
        let order = LimitOrder { service, per, prefix_v4, prefix_v6, unit, direction, rate, burst, strict, over };
        let rows: Vec<LimitRow> = socket.client()?.post("limits/set", &order).await?;
        output.print(&rows, |rows| rows::text(rows, false))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Unset {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let of = LimitsOf { service: self.service };
        let rows: Vec<LimitRow> = self.socket.client()?.post("limits/unset", &of).await?;
        self.output.print(&rows, |rows| rows::text(rows, false))?;
        Ok(ExitCode::SUCCESS)
    }
}
