//! Judging the host.

use super::facts::Facts;
use super::{Finding, Level, state};

/// The oldest Linux that Weir is made for: XDP, tcx links, and drivers that say what they can do.
const OLDEST: (u32, u32) = (6, 6);

/// Capabilities by name and bit (capability.h).
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// How many names a finding lists.
const NAMES: usize = 5;

/// The findings about the host.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![kernel(facts), btf(facts), privileges(facts), jit(facts)];
    findings.extend(forwarding_ipv4(facts));
    findings.extend(forwarding_ipv6(facts));
    findings.push(state::finding(facts));
    findings.extend(
        facts.netlink_error.as_ref().map(|error| {
            Finding::bad("netlink", format!("the devices could not be listed: {error}"), "run it as root")
        }),
    );
    if !facts.deaf_veths.is_empty() {
        findings.push(deaf_veths(facts));
    }
    findings
}

fn kernel(facts: &Facts) -> Finding {
    let Some(release) = &facts.release else {
        return Finding::bad("kernel", "the kernel's release cannot be read", "mount /proc");
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let found = format!("Linux {release}");
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => Finding::good("kernel", found),
        _ => Finding::bad("kernel", found, format!("Weir needs Linux {}.{} or later", OLDEST.0, OLDEST.1)),
    }
}

fn btf(facts: &Facts) -> Finding {
    if facts.btf {
        Finding::good("btf", "the kernel describes its types (/sys/kernel/btf/vmlinux)")
    } else {
        let advice = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y; Weir's debug log and BPF tools may need it";
        Finding::advice("btf", "no /sys/kernel/btf/vmlinux", advice)
    }
}

fn privileges(facts: &Facts) -> Finding {
    let advice = "run it as root, or in its systemd unit: AmbientCapabilities=CAP_NET_ADMIN CAP_BPF CAP_PERFMON";
    let Some(held) = facts.capabilities else {
        return Finding::bad("privileges", "the capabilities cannot be read", "mount /proc");
    };
    let mut missing = Vec::new();
    if held & NET_ADMIN == 0 {
        missing.push("CAP_NET_ADMIN");
    }
    if held & SYS_ADMIN == 0 {
        missing.extend(
            [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")]
                .iter()
                .filter(|(bit, _)| held & bit == 0)
                .map(|(_, name)| *name),
        );
    }
    if !missing.is_empty() {
        Finding::bad("privileges", format!("without {}", missing.join(" and ")), advice)
    } else if facts.initial_user_namespace == Some(false) {
        let found = "inside a user namespace, where capabilities do not reach the kernel's BPF";
        Finding::bad(
            "privileges",
            found,
            "run it outside of user namespaces (no rootless container, no userns remapping)",
        )
    } else {
        Finding::good("privileges", "may load BPF programs and configure the network")
    }
}

fn jit(facts: &Facts) -> Finding {
    match facts.jit {
        Some(0) => Finding::advice(
            "jit",
            "BPF programs are interpreted (net.core.bpf_jit_enable = 0), which is several times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some(_) => Finding::good("jit", "BPF programs are compiled to machine code"),
        None => Finding::good(
            "jit",
            "net.core.bpf_jit_enable is not shown here, as in any network namespace but the host's first",
        ),
    }
}

fn forwarding_ipv4(facts: &Facts) -> Option<Finding> {
    let off = facts.forwarding_ipv4? == 0;
    forwarding("forwarding-ipv4", "IPv4", off, facts.wanted.ipv4, "sysctl -w net.ipv4.ip_forward=1")
}

fn forwarding_ipv6(facts: &Facts) -> Option<Finding> {
    // A host that learns its routes from router advertisements stops doing so when it forwards (ip-sysctl, accept_ra).
    let advice = "sysctl -w net.ipv6.conf.all.forwarding=1 (and, where this host learns its routes from router \
                  advertisements, sysctl -w net.ipv6.conf.INTERFACE.accept_ra=2 first)";
    match facts.forwarding_ipv6 {
        Some(value) => forwarding("forwarding-ipv6", "IPv6", value == 0, facts.wanted.ipv6, advice),
        None if facts.wanted.ipv6 == Some(true) => Some(Finding::bad(
            "forwarding-ipv6",
            "there are IPv6 VIPs, and this host has no IPv6",
            "boot without ipv6.disable=1, or take the IPv6 services out",
        )),
        None => None,
    }
}

fn forwarding(check: &'static str, family: &str, off: bool, wanted: Option<bool>, advice: &str) -> Option<Finding> {
    let level = match wanted {
        Some(false) => return None,
        _ if !off => return Some(Finding::good(check, format!("this host forwards {family}"))),
        Some(true) => Level::Bad,
        None => Level::Advice,
    };
    let found =
        format!("this host does not forward {family}: replies, and packets that XDP hands to the stack, are lost");
    Some(Finding { level, ..Finding::advice(check, found, advice) })
}

fn deaf_veths(facts: &Facts) -> Finding {
    let names: Vec<_> = facts.deaf_veths.iter().take(NAMES).map(String::as_str).collect();
    let more = facts.deaf_veths.len() - names.len();
    let names = names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
    Finding::advice(
        "veth-gro",
        format!(
            "XDP cannot send into {names}: the other ends have neither GRO nor an XDP program, so the stack delivers"
        ),
        "for each whose other end is a backend, inside its container: ethtool -K eth0 gro on tx off (without tx off the \
         checksums of what it sends are unfinished, which XDP does not see)",
    )
}
