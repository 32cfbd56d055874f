//! A child process in a namespace of the lab.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cleanup::Resources;
use super::netns::Netns;
use super::topology::Lab;
use super::wait::wait_until;

/// How long a process has to end after SIGTERM when it is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// A child process in a namespace. What it writes goes to a file. Dropped, it is asked to end, then killed.
#[derive(Debug)]
pub struct Process {
    resources: Arc<Resources>,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `netns`, in a process group of its own (Ctrl-C is for the lab, not for what runs in it),
    /// with no standard input and what it writes in `NAME.log` in the lab's directory.
    pub fn start(lab: &Lab, netns: &Netns, name: &str, command: &mut Command) -> Result<Self> {
        let log = lab.dir().join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let resources = Arc::clone(lab.resources());
        let child = resources.start_process(|| {
            let child = netns
                .spawn_process(command)
                .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
            Ok((pid_of(&child), child))
        })?;
        Ok(Self { resources, child, log })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Where what it writes goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        anyhow::ensure!(self.resources.has_process(self.pid()), "the process has ended already");
        kill(self.pid(), signal).with_context(|| format!("cannot send {signal} to process {}", self.pid()))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.resources.forget_process(self.pid());
        }
        Ok(status)
    }

    /// Waits for it to end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("process {} to end", self.pid());
        wait_until(&what, deadline, || self.ended().transpose())?
    }

    /// SIGTERM, and waits for it to end.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(deadline)
    }

    /// SIGKILL, and reaps it.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(PATIENCE)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.resources.kept() || !matches!(self.ended(), Ok(None)) || !self.resources.has_process(self.pid()) {
            return;
        }
        let ended = self
            .signal(Signal::SIGTERM)
            // One that is stopped does not hear SIGTERM.
            .and_then(|()| self.signal(Signal::SIGCONT))
            .and_then(|()| self.wait(PATIENCE))
            .or_else(|_| self.kill());
        if let Err(error) = ended {
            eprintln!("lab: process {} does not end: {error:#}", self.pid());
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id is an i32"))
}
