//! Two hosts on a wire, in network namespaces of their own, and waiting for what ought to happen.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace, gone when dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one with a name nobody else has. Needs root.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-nh-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        succeed(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self { name };
        namespace.run("ip link set lo up");
        namespace
    }

    /// Its name, as `ip link … netns` wants it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a shell command inside, which has to succeed.
    pub(crate) fn run(&self, command: &str) -> String {
        // Not `ip netns exec`, which mounts a /sys of its own.
        succeed(Command::new("nsenter").arg(format!("--net={}", self.path())).args(["sh", "-ec", command]))
    }

    /// Runs code inside: on a thread of its own, whose namespace ends with it.
    pub(crate) fn inside<T: Send>(&self, code: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let namespace = std::fs::File::open(self.path()).expect("the namespace's file");
                    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("entering the namespace");
                    code()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let status = Command::new("ip").args(["netns", "del", &self.name]).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking(), "removing {}", self.name);
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A host and its peer, joined by a veth: `h0` in the host, `p0` in the peer.
///
/// The host is 10.77.0.1 and fd77::1, the peer 10.77.0.2 and fd77::2. The peer's GRO is on, so that the host's end
/// can transmit from XDP.
pub(crate) struct Lab {
    pub(crate) host: Namespace,
    pub(crate) peer: Namespace,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { host: Namespace::new(), peer: Namespace::new() };
        lab.wire();
        lab
    }

    /// Makes the veth.
    pub(crate) fn wire(&self) {
        self.host.run(&format!("ip link add h0 type veth peer name p0 netns {}", self.peer.name()));
        // Before it is up: nobody should meet it half configured.
        self.peer.run("ethtool -K p0 gro on");
        self.peer.run("ip address add 10.77.0.2/24 dev p0; ip address add fd77::2/64 dev p0 nodad; ip link set p0 up");
        self.host.run("ip address add 10.77.0.1/24 dev h0; ip address add fd77::1/64 dev h0 nodad; ip link set h0 up");
    }
}
