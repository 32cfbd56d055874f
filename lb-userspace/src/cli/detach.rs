//! `weir detach`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Socket, print};

/// How long the controller may take to end.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    /// Returns once the programs are off and the socket is gone.
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let () = self.socket.client()?.post("detach").await?;
        let deadline = Instant::now() + DEADLINE;
        while self.socket.socket.exists() {
            if Instant::now() >= deadline {
                bail!("the programs are off, but Weir did not end within {} s", DEADLINE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        print("detached\n")?;
        Ok(ExitCode::SUCCESS)
    }
}
