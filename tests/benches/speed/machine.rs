//! What the run ran on, and what was run.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use weir::dataplane::kernel::TOOLCHAIN;

/// The machine, as far as it says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// The processor's model, of the first one.
    pub cpu: String,
    /// How many processors this process may use.
    pub cpus: usize,
    /// Memory in MiB; 0 when unknown.
    pub memory_mib: u64,
    /// Release and architecture of the kernel.
    pub kernel: String,
    /// Whether the processor says that it is a hypervisor's, and of what make the machine is.
    pub hypervisor: String,
    /// Who chooses the processor's frequency.
    pub governor: String,
    /// `net.core.bpf_jit_enable`, and `bpf_jit_harden` when it is on.
    pub bpf_jit: String,
    /// The mitigations that are in force, and what is left vulnerable.
    pub mitigations: Vec<String>,
}

/// The sources, and how they were built.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Build {
    /// The commit of the tree, with ` + changes` when files differ from it; `unknown` outside of a repository.
    pub commit: String,
    /// The profile of the programs in userspace; the BPF program's is always `release`.
    pub profile: &'static str,
    /// What compiled the BPF program.
    pub bpf_toolchain: &'static str,
    /// When the run began: UTC, RFC 3339.
    pub at: String,
}

impl Machine {
    /// Looks at this machine. What cannot be read is said to be unknown.
    pub(crate) fn look() -> Self {
        let info = read("/proc/cpuinfo").unwrap_or_default();
        let memory = read("/proc/meminfo").and_then(|text| field(&text, "MemTotal")?.split(' ').next()?.parse().ok());
        Self {
            cpu: field(&info, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.map_or(0, |kib: u64| kib / 1024),
            kernel: format!("{} {}", read_or("/proc/sys/kernel/osrelease", "unknown"), std::env::consts::ARCH),
            hypervisor: hypervisor(&info),
            governor: read_or("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "not this kernel's to choose"),
            bpf_jit: jit(),
            mitigations: mitigations(),
        }
    }
}

impl Build {
    /// Looks at the tree this was built from.
    pub(crate) fn look() -> Self {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            profile,
            bpf_toolchain: TOOLCHAIN,
            at: utc(now),
        }
    }
}

fn commit() -> Option<String> {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // The page and the figures that a run writes are no reason to call the sources changed.
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/docs", ":!/README.md"])?;
    Some(if changed.is_empty() { commit } else { commit + " + changes" })
}

fn hypervisor(cpuinfo: &str) -> String {
    let guest = field(cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let make = ["sys_vendor", "product_name"].map(|name| read(&format!("/sys/class/dmi/id/{name}")));
    let make = make.into_iter().flatten().collect::<Vec<_>>().join(" ");
    match (guest, make.is_empty()) {
        (true, true) => "a virtual machine".to_owned(),
        (true, false) => format!("a virtual machine ({make})"),
        (false, true) => "none that shows".to_owned(),
        (false, false) => format!("none that shows ({make})"),
    }
}

fn jit() -> String {
    let enabled = match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => "off: programs are interpreted, and every figure of theirs is of that",
        Some(_) => "on",
        None => "unknown",
    };
    match read("/proc/sys/net/core/bpf_jit_harden").as_deref() {
        None | Some("0") => enabled.to_owned(),
        Some(level) => format!("{enabled}, hardened ({level})"),
    }
}

fn mitigations() -> Vec<String> {
    let dir = std::fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten();
    let mut found: Vec<String> = dir
        .filter_map(|entry| {
            let state = std::fs::read_to_string(entry.path()).ok()?;
            if state.starts_with("Not affected") {
                return None;
            }
            let state = state.trim().trim_start_matches("Mitigation: ");
            // The first words say which; the rest is about variants.
            let state = state.split(';').next().unwrap_or(state);
            Some(format!("{}: {state}", entry.file_name().to_string_lossy()))
        })
        .collect();
    found.sort();
    found
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn read_or(path: &str, otherwise: &str) -> String {
    read(path).unwrap_or_else(|| otherwise.to_owned())
}

/// Seconds since 1970 as a date and a time. The days are counted from a 1 March, so that the leap day is a year's last
/// (after Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}
