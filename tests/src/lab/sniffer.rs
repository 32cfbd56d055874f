//! Captures of what is on a cable, while a test runs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::netns::Netns;
use super::process::Process;
use super::topology::Lab;
use super::wait::wait_until;

/// How long tcpdump has to begin, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// `tcpdump` on one device, into a file in the lab's directory.
#[derive(Debug)]
pub struct Sniffer {
    process: Process,
    file: PathBuf,
}

impl Sniffer {
    /// Starts it; when this returns it listens. It sees frames as they are on the cable at any device that has no XDP
    /// program and none to send to it: not at the ends of the cables of Weir's host.
    pub fn start(lab: &Lab, netns: &Netns, device: &str) -> Result<Self> {
        // What GRO has joined has the checksum of none of its parts. It joins only what has a good one, so what it left
        // alone elsewhere can still be seen here.
        netns.command("ethtool", &["-K", device, "gro", "off"])?;
        let file = lab.dir().join(format!("{device}.pcap"));
        let mut command = Command::new("tcpdump");
        // 64 MiB of room, so that nothing is missed; as root, whose directory the lab's is.
        command.args(["-n", "-i", device, "-s", "0", "-B", "65536", "-Z", "root", "-w"]).arg(&file);
        let process = Process::start(lab, netns, &format!("tcpdump-{device}"), &mut command)?;
        wait_until("tcpdump to listen", PATIENCE, || process.log().contains("listening on").then_some(()))
            .with_context(|| process.log())?;
        Ok(Self { process, file })
    }

    /// Ends it, and says where the capture is.
    pub fn stop(mut self) -> Result<PathBuf> {
        self.process.stop(PATIENCE)?;
        let log = self.process.log();
        ensure!(log.contains("\n0 packets dropped by kernel"), "tcpdump missed packets: {log}");
        Ok(self.file)
    }
}
