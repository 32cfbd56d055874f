//! `weir detach`.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Socket, print};
use crate::api::types::Status;
use crate::config::DEFAULT_STATE;
use crate::dataplane::kernel::pins;
use crate::shaping;

/// How long the controller may take to end.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder in which a Weir that does not run any more has left its programs and maps: `state` of its [weir]
    /// [default: /sys/fs/bpf/weir]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    /// Returns once the programs are off, and the socket is gone if there was one.
    pub(super) async fn execute(self) -> Result<ExitCode> {
        if nobody_listens(&self.socket.socket) {
            let state = self.state.as_deref().unwrap_or(Path::new(DEFAULT_STATE));
            let mut done = pins::detach(state)?;
            done.extend(shaping::remove_all().context("taking away queues that packets waited in")?);
            if done.is_empty() {
                bail!(
                    "Weir does not run, nobody listens on {}; and it has left nothing in {}. If it has another socket \
                     or folder, name it with --socket or --state",
                    self.socket.socket.display(),
                    state.display()
                );
            }
            print(&(done.join("\n") + "\ndetached\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let client = self.socket.client()?;
        if let Some(state) = &self.state {
            let status: Status = client.get("status", &[]).await?;
            if Path::new(&status.state) != state {
                bail!(
                    "process {}, which listens on {}, is the Weir of {}, not of {}: leave --state out to stop it, or \
                     name the other one's socket with --socket",
                    status.pid,
                    self.socket.socket.display(),
                    status.state,
                    state.display()
                );
            }
        }
        let () = client.post("detach", &()).await?;
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

/// Whether it is certain that no Weir is behind this socket.
fn nobody_listens(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => false,
        Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_a_listener_is_nobodys() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("weir.sock");
        assert!(nobody_listens(&path));
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        assert!(!nobody_listens(&path));
        drop(listener);
        assert!(path.exists() && nobody_listens(&path));
    }
}
