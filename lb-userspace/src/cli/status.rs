//! `weir status`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Output, Socket};
use crate::api::types::Status;

/// How often a Weir that is not ready is asked again.
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Wait until it is ready, at most this long; exit with 1 if it is not
    #[arg(long, value_name = "SECONDS")]
    wait_ready: Option<u64>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let client = self.socket.client()?;
        let deadline = Instant::now() + Duration::from_secs(self.wait_ready.unwrap_or(0));
        let status = loop {
            let answer: Result<Status> = client.get("status", &[]).await;
            let ready = answer.as_ref().is_ok_and(|status| status.ready);
            if self.wait_ready.is_none() || ready {
                break answer?;
            }
            if Instant::now() >= deadline {
                match answer {
                    Ok(status) if status.problems.is_empty() => {
                        bail!("not ready: {} has not answered yet", waiting(&status))
                    }
                    Ok(status) => bail!("not ready: {}", status.problems.join("; ")),
                    Err(error) => return Err(error),
                }
            }
            tokio::time::sleep(POLL).await;
        };
        self.output.print(&status, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The registries that have not spoken.
fn waiting(status: &Status) -> String {
    let names = status.registries.iter().filter(|row| row.state == "waiting").map(|row| row.name.as_str());
    match names.collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => "the kernel".to_owned(),
        names => format!("registry {names}"),
    }
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let Status {
        version, pid, ready, generation, uptime_s, interfaces, registries, services, backends, problems, ..
    } = status;
    let ready = if *ready { "ready" } else { "not ready" };
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes all");
    line(format!("weir {version}, process {pid}, {ready}, up {uptime_s} s"));
    line(format!("{services} service(s), {backends} backend(s), generation {generation}"));
    for interface in interfaces {
        line(format!("interface {}: {}", interface.name, interface.mode));
    }
    for registry in registries {
        let age = registry.last_good_s.map_or("never".to_owned(), |s| format!("{s} s ago"));
        line(format!("registry {} ({}): {}, last good answer {age}", registry.name, registry.source, registry.state));
    }
    match problems.as_slice() {
        [] => line("no problems".to_owned()),
        problems => {
            for problem in problems {
                line(format!("problem: {}", problem.replace('\n', "\n         ")));
            }
        }
    }
    text
}
