//! `weir run` as a process in the lab, and its command line.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use super::freshness::ensure_fresh;
use super::netns::Netns;
use super::process::Process;
use super::topology::Lab;

/// How long `weir run` has to become ready.
const READY_WITHIN_S: u32 = 10;
/// How long `weir run` has to leave after SIGTERM.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// The `weir` that was built with the program that runs: `$WEIR_BINARY`, or `weir` in the same profile's directory
/// (a test is in its `deps`).
pub fn default_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WEIR_BINARY") {
        return path.into();
    }
    let program = std::env::current_exe().expect("a running program has a path");
    let dir = program.parent().expect("a program is in a directory");
    let dir = if dir.ends_with("deps") { dir.parent().expect("deps is in a directory") } else { dir };
    dir.join("weir")
}

/// How a verb of `weir` ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliOutput {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// `weir run` in a namespace. Dropped, it is asked to end (so that it cleans up), then killed.
#[derive(Debug)]
pub struct WeirProcess {
    binary: PathBuf,
    socket: PathBuf,
    netns: Netns,
    process: Process,
}

impl WeirProcess {
    /// Starts `weir run` on Weir's host with this configuration, whose `socket` has to be [`Lab::socket`], and waits
    /// until it is ready. The file is `weir.toml` in the lab's directory, so a registry's relative path is relative to
    /// that.
    pub fn start(lab: &Lab, binary: &Path, config: &str) -> Result<Self> {
        let mut weir = Self::start_unready(lab, binary, config)?;
        weir.await_ready()?;
        Ok(weir)
    }

    /// [`WeirProcess::start`] without the waiting.
    pub fn start_unready(lab: &Lab, binary: &Path, config: &str) -> Result<Self> {
        ensure_fresh(binary)?;
        let path = config_path(lab);
        std::fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        let process = spawn(lab, binary)?;
        Ok(Self { binary: binary.to_owned(), socket: lab.socket(), netns: lab.weir.clone(), process })
    }

    /// Starts `weir run` again in the same lab, with the configuration file as it is now, after [`WeirProcess::stop`],
    /// [`WeirProcess::kill`] or an end of its own; waits until it is ready. The log goes on where it was.
    pub fn restart(&mut self, lab: &Lab) -> Result<()> {
        let binary = self.binary.clone();
        self.restart_with_binary(lab, &binary)
    }

    /// [`WeirProcess::restart`] with another build of `weir`, from now on the one for its verbs too: an upgrade.
    pub fn restart_with_binary(&mut self, lab: &Lab, binary: &Path) -> Result<()> {
        self.restart_unready(lab, binary)?;
        self.await_ready()
    }

    /// [`WeirProcess::restart_with_binary`] without the waiting.
    pub fn restart_unready(&mut self, lab: &Lab, binary: &Path) -> Result<()> {
        ensure!(self.ended()?.is_some(), "weir run still runs as process {}: stop or kill it first", self.pid());
        ensure_fresh(binary)?;
        self.process = spawn(lab, binary)?;
        binary.clone_into(&mut self.binary);
        Ok(())
    }

    /// Waits until it is ready.
    pub fn await_ready(&mut self) -> Result<()> {
        let waited = self.cli(&["status", "--wait-ready", &READY_WITHIN_S.to_string()])?;
        if waited.code != Some(0) {
            let ended = self.process.ended()?.map(|status| format!(" (it ended: {status})")).unwrap_or_default();
            bail!(
                "weir run is not ready after {READY_WITHIN_S} s{ended}: {}{}\nits log:\n{}",
                waited.stdout,
                waited.stderr,
                self.log()
            );
        }
        Ok(())
    }

    /// Runs a verb against this process's socket: `weir ARGUMENTS… --socket SOCKET`.
    pub fn cli(&self, arguments: &[&str]) -> Result<CliOutput> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--socket").arg(&self.socket);
        let output = self.netns.output(&mut command)?;
        Ok(CliOutput {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a verb with `-o json` and reads what it wrote; fails when it does.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let shown = arguments.join(" ");
        let output = self.cli(&[arguments, &["-o", "json"]].concat())?;
        ensure!(
            output.code == Some(0),
            "`weir {shown}` ended with {:?}: {}{}",
            output.code,
            output.stdout,
            output.stderr
        );
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("`weir {shown} -o json` wrote no JSON: {}", output.stdout))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.ended()
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends it a signal: SIGSTOP, SIGCONT, SIGHUP, …
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// SIGTERM, and waits until it has left.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop(LEAVES_WITHIN)
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill()
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.wait(deadline)
    }
}

/// The configuration of a lab's Weir.
fn config_path(lab: &Lab) -> PathBuf {
    lab.dir().join("weir.toml")
}

fn spawn(lab: &Lab, binary: &Path) -> Result<Process> {
    let mut command = Command::new(binary);
    command.args(["run", "--config"]).arg(config_path(lab)).current_dir(lab.dir());
    Process::start(lab, &lab.weir, "weir", &mut command)
}
