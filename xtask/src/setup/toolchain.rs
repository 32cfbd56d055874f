//! The Rust that compiles for BPF: which one there is, and which one to bring.
//!
//! Two are supported, in the order in which lb-userspace's build script takes them: a rustup toolchain called
//! [`LINKED`], which is Debian's second Rust with `core` ready for BPF; and a rustup nightly with the component
//! `rust-src`, from which cargo builds `core`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use weir_tests::lab::run;

use super::debian::{self, Machine};
use super::step::{Action, Step};

/// What rustup calls Debian's toolchain.
pub(super) const LINKED: &str = "weir-bpf";
/// Where Debian's toolchain is.
const DEBIAN_PREFIX: &str = "/usr";

/// The Rust toolchains of this machine, as far as BPF goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rust {
    /// [`LINKED`], where rustup has it and it can compile for BPF.
    linked: Option<PathBuf>,
    /// Whether Debian's Rust with `core` for BPF is in /usr.
    debian: bool,
    /// A nightly with `rust-src`.
    nightly: Option<PathBuf>,
}

impl Rust {
    /// Looks at this machine.
    pub(crate) fn look() -> Result<Self> {
        let listed = run(Command::new("rustup").args(["toolchain", "list", "-v"])).context(
            "rustup is needed: it keeps the toolchain that builds Weir beside the one that compiles for BPF, and \
             bpf-linker uses its LLVM. https://rustup.rs says how to install it",
        )?;
        let toolchains = parse_list(&listed);
        let path_of = |wanted: &str| {
            toolchains.iter().find(|(name, _)| name == wanted || name.starts_with(&format!("{wanted}-")))
        };
        Ok(Self {
            linked: path_of(LINKED).map(|(_, path)| path.clone()).filter(|path| has_bpf_core(path)),
            debian: has_bpf_core(Path::new(DEBIAN_PREFIX)),
            nightly: path_of("nightly").map(|(_, path)| path.clone()).filter(|path| has_source(path)),
        })
    }

    /// Whether Debian's packages have to be installed, where they can be.
    pub(super) fn needs_debian(&self) -> bool {
        self.linked.is_none() && self.nightly.is_none() && !self.debian
    }

    /// The LLVM that links what is compiled for BPF: `(its major version, whose it is)`. rustup puts the libraries of
    /// the toolchain that it runs in LD_LIBRARY_PATH, and bpf-linker loads LLVM from there. For [`LINKED`], whose LLVM
    /// is not in such a place, it is that of the toolchain which builds Weir itself.
    pub(super) fn linking_llvm(&self) -> Result<(u32, String)> {
        let nightly = self.linked.is_none() && self.nightly.is_some();
        let (mut command, whose) = if nightly {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "rustc"]);
            (command, "rustup's nightly")
        } else {
            (Command::new("rustc"), "the toolchain that builds Weir")
        };
        let version = run(command.arg("-vV"))?;
        let major = llvm_major(&version).with_context(|| format!("`rustc -vV` names no LLVM version:\n{version}"))?;
        Ok((major, whose.to_owned()))
    }
}

/// The step that names Debian's toolchain for rustup, or brings a nightly where there is no Debian.
pub(super) fn plan(machine: &Machine, rust: &Rust) -> Result<Option<Step>> {
    if rust.linked.is_some() || rust.nightly.is_some() {
        return Ok(None);
    }
    if machine.is_debian || rust.debian {
        let link = ["rustup", "toolchain", "link", LINKED, DEBIAN_PREFIX];
        return Ok(Some(Step {
            what: format!("a rustup toolchain called {LINKED}"),
            why: "The build script asks rustup for the Rust that compiles BPF by this name; it is Debian's, in /usr."
                .to_owned(),
            needs_root: false,
            by_hand: false,
            actions: vec![Action::run(&link)],
        }));
    }
    if debian::find("rustup").is_none() {
        bail!("rustup is needed to install a nightly: https://rustup.rs");
    }
    let install = ["rustup", "toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"];
    Ok(Some(Step {
        what: "a nightly Rust with rust-src".to_owned(),
        why: format!(
            "Only nightly cargo builds `core` for BPF from its source, and {} has no other Rust that can.",
            machine.name
        ),
        needs_root: false,
        by_hand: false,
        actions: vec![Action::run(&install)],
    }))
}

/// Reads `rustup toolchain list -v`: a name, sometimes remarks in brackets, and a path on each line.
fn parse_list(listed: &str) -> Vec<(String, PathBuf)> {
    let toolchain = |line: &str| {
        let name = line.split_whitespace().next()?.to_owned();
        // The path is absolute and last; there may be spaces in it.
        let path = line.find(" /").or_else(|| line.find("\t/")).map(|at| PathBuf::from(line[at + 1..].trim()))?;
        Some((name, path))
    };
    listed.lines().filter_map(toolchain).collect()
}

fn has_bpf_core(sysroot: &Path) -> bool {
    sysroot.join("bin/rustc").exists()
        && sysroot.join("bin/cargo").exists()
        && sysroot.join("lib/rustlib/bpfel-unknown-none/lib").exists()
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}

/// Reads the line `LLVM version: 22.1.2` of `rustc -vV`.
fn llvm_major(version: &str) -> Option<u32> {
    version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolchains_are_read_from_rustups_list() {
        let listed = "stable-x86_64-unknown-linux-gnu (active, default) /home/ab/.rustup/toolchains/stable\n\
                      nightly-x86_64-unknown-linux-gnu /home/a b/.rustup/nightly\nweir-bpf\t/usr\n";
        let read = parse_list(listed);
        assert_eq!(read[0].1, Path::new("/home/ab/.rustup/toolchains/stable"));
        assert_eq!(read[1], ("nightly-x86_64-unknown-linux-gnu".into(), "/home/a b/.rustup/nightly".into()));
        assert_eq!(read[2], ("weir-bpf".into(), "/usr".into()));
    }

    #[test]
    fn the_llvm_is_read_from_rustcs_words() {
        assert_eq!(llvm_major("rustc 1.95.0\nhost: x\nLLVM version: 22.1.2\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.95.0\n"), None);
    }
}
