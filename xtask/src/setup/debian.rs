//! Debian's packages: the tools of the lab, and the Rust that compiles BPF.

use std::path::{Path, PathBuf};

use super::step::{Action, Step};
use super::toolchain::Rust;

/// The tools that the lab calls, and the package of each.
const TOOLS: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("nsenter", "util-linux"),
    ("tcpdump", "tcpdump"),
    ("ping", "iputils-ping"),
    ("traceroute", "traceroute"),
    ("curl", "curl"),
    ("cc", "gcc"),
    // What Weir's tests expect of packets is checked by two others.
    ("tshark", "tshark"),
    ("scapy3", "python3-scapy"),
];

/// Debian's second Rust, which ships `core` compiled for BPF. It stands beside rustup's.
pub(super) const BPF_RUST: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// What kind of system this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Whether it is Debian itself (not a relative) and has apt-get.
    pub(crate) is_debian: bool,
    /// The system's name for itself.
    pub(crate) name: String,
    /// The tools that are not on the path.
    missing_tools: Vec<(&'static str, &'static str)>,
    has_certificates: bool,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn look() -> Self {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let missing_tools = TOOLS.into_iter().filter(|(tool, _)| find(tool).is_none()).collect();
        Self {
            is_debian: os_release(&release, "ID").as_deref() == Some("debian") && find("apt-get").is_some(),
            name: os_release(&release, "PRETTY_NAME").unwrap_or_else(|| "an unknown system".to_owned()),
            missing_tools,
            has_certificates: Path::new("/etc/ssl/certs").exists(),
        }
    }
}

/// The packages that are missing, as one step.
pub(super) fn plan(machine: &Machine, rust: &Rust) -> Option<Step> {
    let mut packages: Vec<&str> = machine.missing_tools.iter().map(|(_, package)| *package).collect();
    let tools: Vec<String> = machine.missing_tools.iter().map(|(tool, _)| format!("`{tool}`")).collect();
    let mut reasons = Vec::new();
    if !tools.is_empty() {
        reasons.push(format!("builds, the lab or whoever looks into it call {}", tools.join(", ")));
    }
    if !machine.has_certificates {
        packages.push("ca-certificates");
        reasons.push("ca-certificates lets cargo and apt-get know whom they talk to".to_owned());
    }
    if machine.is_debian && rust.needs_debian() {
        packages.extend(BPF_RUST);
        reasons.push(format!(
            "{} compile Rust for BPF: rustup here has no nightly with rust-src, and these stand beside it, in /usr",
            BPF_RUST.join(", ")
        ));
    }
    if packages.is_empty() {
        return None;
    }
    let why = sentence(&reasons.join("; "));
    let step = Step { what: packages.join(", "), why, needs_root: true, by_hand: false, actions: vec![] };
    if !machine.is_debian {
        let advice = format!("# {}: install the packages that have these, by whatever name", machine.name);
        return Some(Step { by_hand: true, needs_root: false, actions: vec![Action::Note(advice)], ..step });
    }
    let install = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"];
    let install: Vec<&str> = install.into_iter().chain(packages).collect();
    Some(Step { actions: vec![Action::run(&["apt-get", "update"]), Action::run(&install)], ..step })
}

fn sentence(text: &str) -> String {
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}.", first.to_uppercase())
}

/// A program on the path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Root's tools are not on everybody's path, and `--check` is for everybody.
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    dirs.map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// A value of os-release(5), without its quotes.
fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::os_release;

    #[test]
    fn the_system_says_its_name() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(os_release(text, "ID").as_deref(), Some("debian"));
        assert_eq!(os_release(text, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(os_release(text, "ID_LIKE"), None);
    }
}
