//! `weir run`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The control socket, instead of the one in the configuration
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Log the verdict on every packet, for debugging: slows the packet path down many times
    #[arg(long)]
    trace_packets: bool,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let mut config = Config::load(&self.config)?;
        if let Some(socket) = self.socket {
            config.weir.socket = socket;
        }
        // `WEIR_LOG=debug weir run …` says more; the syntax is that of tracing's EnvFilter.
        let filter = EnvFilter::builder().with_env_var("WEIR_LOG").with_default_directive(tracing::Level::INFO.into());
        // Docker's client would log all that an engine answers: also containers' environments, and with them secrets.
        let filter = filter.from_env_lossy().add_directive("bollard=info".parse()?);
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
        crate::run::run(config, self.trace_packets).await?;
        Ok(ExitCode::SUCCESS)
    }
}
