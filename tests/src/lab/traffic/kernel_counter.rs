//! What the kernel of a namespace has counted.

use anyhow::{Context, Result};

use crate::lab::netns::Netns;

/// Of a table of /proc/net (`snmp`, `netstat`), in a group's lines, the number under this name.
pub fn kernel_counter(netns: &Netns, table: &str, group: &str, name: &str) -> Result<u64> {
    let text = read(netns, table)?;
    let start = format!("{group}: ");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&start));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let value = pairs.find(|(found, _)| *found == name).and_then(|(_, value)| value.parse().ok());
    value.with_context(|| format!("the kernel does not count {name} of {group} in /proc/net/{table}"))
}

/// How many datagrams had to be dropped because a socket's buffer was full: the test's own doing, not the network's.
pub fn udp_buffer_errors(netns: &Netns) -> Result<u64> {
    let v4 = kernel_counter(netns, "snmp", "Udp", "RcvbufErrors")?;
    let text = read(netns, "snmp6")?;
    let v6 = text.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors"));
    let v6: Option<u64> = v6.and_then(|rest| rest.trim().parse().ok());
    Ok(v4 + v6.context("the kernel does not count Udp6RcvbufErrors in /proc/net/snmp6")?)
}

fn read(netns: &Netns, table: &str) -> Result<String> {
    // Of the thread that reads, so it is read in the namespace.
    let path = format!("/proc/thread-self/net/{table}");
    netns.run(|| std::fs::read_to_string(&path)).with_context(|| format!("cannot read {path}"))
}
