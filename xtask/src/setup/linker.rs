//! bpf-linker: which release goes with the LLVM that it will load.
//!
//! A release of bpf-linker speaks to the LLVM it was written for, and loads the one that rustup's toolchain ships. So
//! its version follows from that toolchain.

use std::process::Command;

use anyhow::{Result, bail};
use weir_tests::lab::run;

use super::step::{Action, Step};
use super::toolchain::Rust;

/// The last release whose default is LLVM 22.
const FOR_LLVM_22: &str = "0.10.4";
/// What it is for.
const PURPOSE: &str = "It turns what rustc compiles for BPF into an object that the kernel takes";

/// The step that installs it, where it is not there or is another.
pub(super) fn plan(rust: &Rust) -> Result<Option<Step>> {
    let (llvm, whose) = rust.linking_llvm()?;
    let found = run(Command::new("bpf-linker").arg("--version")).ok();
    let found = found.as_deref().and_then(parse_version);
    let Some((version, why)) = wanted(llvm, &whose, found)? else { return Ok(None) };
    let mut words = vec!["cargo", "install", "bpf-linker", "--locked"];
    if let Some(version) = version {
        words.extend(["--version", version]);
    }
    if found.is_some() {
        words.push("--force");
    }
    let what = version.map_or("the newest bpf-linker".to_owned(), |version| format!("bpf-linker {version}"));
    Ok(Some(Step { what, why, needs_root: false, by_hand: false, actions: vec![Action::run(&words)] }))
}

type Version = (u32, u32, u32);

/// What to install, if anything: a version, or `None` for the newest; and why.
fn wanted(llvm: u32, whose: &str, found: Option<Version>) -> Result<Option<(Option<&'static str>, String)>> {
    let pinned = parse_version(FOR_LLVM_22).expect("a version");
    let shown = found.map_or("there is none here".to_owned(), |(a, b, c)| format!("here is {a}.{b}.{c}"));
    match llvm {
        ..22 => bail!(
            "{whose} has LLVM {llvm}, which cannot read what a Rust with LLVM 22 compiles for BPF. Update it: \
             `rustup update` (Rust 1.95 has LLVM 22)"
        ),
        22 if found == Some(pinned) => Ok(None),
        22 => {
            let why = format!("{PURPOSE}; {whose} has LLVM 22, and {FOR_LLVM_22} is the release for that; {shown}.");
            Ok(Some((Some(FOR_LLVM_22), why)))
        }
        // Which one, only bpf-linker's authors know by then: the newest follows nightly.
        _ if found > Some(pinned) => Ok(None),
        _ => Ok(Some((None, format!("{PURPOSE}; {whose} has LLVM {llvm}, newer than {FOR_LLVM_22} knows; {shown}.")))),
    }
}

/// Reads `bpf-linker 0.10.4`.
fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text.split_whitespace().last()?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_follows_the_llvm() {
        let version = |llvm, found| wanted(llvm, "it", found).unwrap().map(|(version, _)| version);
        assert_eq!(version(22, None), Some(Some("0.10.4")));
        assert_eq!(version(22, Some((0, 13, 0))), Some(Some("0.10.4")));
        assert_eq!(version(22, Some((0, 10, 4))), None);
        assert_eq!(version(23, Some((0, 10, 4))), Some(None));
        assert_eq!(version(23, Some((0, 13, 0))), None);
        assert!(wanted(21, "it", None).is_err());
    }

    #[test]
    fn a_version_is_read_from_what_the_linker_says() {
        assert_eq!(parse_version("bpf-linker 0.10.4\n"), Some((0, 10, 4)));
        assert_eq!(parse_version("bpf-linker\n"), None);
    }
}
