//! nftables: the kernel's own NAT, which chooses a server by a hash of the client's address and port.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use weir_tests::lab::{Lab, Netns};

use super::{Kind, write};

/// The table's name.
const TABLE: &str = "weir_bench";

/// The rules, until this is dropped.
pub(super) struct Rules {
    netns: Netns,
    program: PathBuf,
}

/// Puts them in place.
pub(super) fn start(lab: &Lab, kind: Kind, servers: &[SocketAddrV4]) -> Result<Rules> {
    let places: Vec<String> =
        servers.iter().enumerate().map(|(place, server)| format!("{place} : {}", server.ip())).collect();
    let vip = kind.vip();
    let text = format!(
        "table ip {TABLE} {{\n  chain balance {{\n    type nat hook prerouting priority dstnat; policy accept;\n    \
         ip daddr {} tcp dport {} dnat to jhash ip saddr . tcp sport mod {} map {{ {} }}\n  }}\n}}\n",
        vip.ip(),
        vip.port(),
        servers.len(),
        places.join(", "),
    );
    let path = write(lab, "rules.nft", &text)?;
    let program = kind.program().context("it is no program")?;
    let rules = Rules { netns: lab.weir.clone(), program };
    let output = rules.netns.output(Command::new(&rules.program).arg("-f").arg(path))?;
    ensure!(output.status.success(), "nft: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    // Ended connections are remembered two minutes unless told otherwise, longer than a round lasts.
    rules.netns.sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "5")?;
    Ok(rules)
}

impl Drop for Rules {
    fn drop(&mut self) {
        // The namespace goes soon; what matters is that nobody else is measured with these rules.
        let deleted = self.netns.output(Command::new(&self.program).args(["delete", "table", "ip", TABLE]));
        if !deleted.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("the rules of nftables stay: {deleted:?}");
        }
    }
}
