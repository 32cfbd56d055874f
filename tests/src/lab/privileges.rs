//! What the kernel lets this process do.

use anyhow::{Context, Result};

/// What labs use, with its number in linux/capability.h.
const NEEDED: [(&str, u32); 5] =
    [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// The capabilities that this process lacks to make network namespaces and load BPF programs.
///
/// # Errors
/// When /proc does not say which it has.
pub fn missing_capabilities() -> Result<Vec<&'static str>> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    missing(&status)
}

fn missing(status: &str) -> Result<Vec<&'static str>> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let effective = effective.context("/proc/self/status has no line CapEff")?;
    Ok(NEEDED.iter().filter(|(_, number)| effective & (1 << number) == 0).map(|(name, _)| *name).collect())
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn a_missing_capability_is_named() {
        assert_eq!(missing("Name:\tx\nCapEff:\t000001ffffffffff\n").unwrap(), [""; 0]);
        assert_eq!(missing("CapEff:\t000001ffffffefff\n").unwrap(), ["CAP_NET_ADMIN"]);
        assert_eq!(missing("CapEff:\t0000000000000000\n").unwrap().len(), 5);
        assert!(missing("CapPrm:\t0\n").is_err());
    }
}
