//! One network namespace, and the ways to do something in it.
//!
//! A namespace is entered by a thread of its own with `setns`: the process's other threads stay where they are, and
//! /sys is not mounted anew (`ip netns exec` does that, which hides cgroups and bpffs). A child process started from
//! such a thread is in the namespace.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use super::command;
use super::worker::see_off;

/// A network namespace that has a name under /run/netns. Clones are the same namespace.
#[derive(Debug, Clone)]
pub struct Netns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    file: OwnedFd,
}

impl Netns {
    /// Opens the namespace called `name`.
    pub fn open(name: &str) -> Result<Self> {
        let path = format!("/run/netns/{name}");
        let file = std::fs::File::open(&path).with_context(|| format!("cannot open the network namespace {path}"))?;
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), file: file.into() }) })
    }

    /// Its name under /run/netns: `nsenter --net=/run/netns/NAME` enters it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Runs `work` on a thread of its own inside the namespace and returns what it returns. Sockets made there stay
    /// in the namespace wherever they are used.
    ///
    /// # Panics
    /// With `work`'s own panic, or when the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter();
                    work()
                })
                .join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a future to its end inside the namespace, on a runtime of its own.
    ///
    /// # Panics
    /// As [`Netns::run`].
    pub fn block_on<T: Send, F: Future<Output = T>>(&self, make: impl FnOnce() -> F + Send) -> T {
        self.run(|| tokio::task::LocalSet::new().block_on(&runtime(), async { make().await }))
    }

    /// Starts a future inside the namespace, on a thread and a runtime of its own, to run until it ends or the
    /// returned task is dropped.
    pub fn spawn<F: Future<Output = ()>>(&self, name: &str, make: impl FnOnce() -> F + Send + 'static) -> Task {
        let (stop, stopped) = oneshot::channel::<()>();
        let netns = self.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            netns.enter();
            tokio::task::LocalSet::new().block_on(&runtime(), async {
                tokio::select! {
                    () = async { make().await } => {}
                    // Either a word to stop, or nobody is left who could say it.
                    _ = stopped => {}
                }
            });
        });
        Task { stop: Some(stop), thread: Some(thread.expect("a thread can be started")) }
    }

    /// Starts a process inside the namespace.
    pub fn spawn_process(&self, command: &mut Command) -> std::io::Result<Child> {
        self.run(|| command.spawn())
    }

    /// Runs a command to its end inside the namespace, however it ends.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        self.run(|| command::output(command))
    }

    /// Runs a command to its end inside the namespace and returns its standard output; fails when it does.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run(|| command::run(Command::new(program).args(arguments)))
    }

    /// `ip ARGUMENTS…` inside the namespace, the arguments as one line.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        command::run(Command::new("ip").args(["-n", self.name()]).args(arguments.split_whitespace()))
    }

    /// Many `ip` commands inside the namespace, one a line, by one process.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        command::run_with_input(Command::new("ip").args(["-n", self.name(), "-batch", "-"]), lines).map(drop)
    }

    /// Sets a kernel parameter of the namespace: `sysctl("net/ipv4/ip_forward", "1")`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{key}");
        self.run(|| std::fs::write(&path, value)).with_context(|| format!("cannot write {value:?} to {path}"))
    }

    /// The hardware address of a device in the namespace.
    pub fn mac(&self, device: &str) -> Result<[u8; 6]> {
        let links: serde_json::Value = serde_json::from_str(&self.ip(&format!("-json link show dev {device}"))?)?;
        let text = links[0]["address"].as_str().unwrap_or_default();
        parse_mac(text).with_context(|| format!("{device} in {} has the hardware address {text:?}", self.name()))
    }

    /// The index of a device in the namespace.
    pub fn index(&self, device: &str) -> Result<u32> {
        self.run(|| nix::net::if_::if_nametoindex(device))
            .with_context(|| format!("no device {device} in {}", self.name()))
    }

    fn enter(&self) {
        if let Err(error) = setns(&self.inner.file, CloneFlags::CLONE_NEWNET) {
            panic!("cannot enter the network namespace {}: {error} (root with CAP_SYS_ADMIN can)", self.name());
        }
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

/// Something that runs in a namespace until this is dropped.
#[derive(Debug)]
pub struct Task {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Task {
    fn drop(&mut self) {
        // Dropping the sender is the word to stop.
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return };
        // The thread has to be gone before its namespace can be.
        see_off(thread);
    }
}
