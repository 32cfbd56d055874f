//! What the kernel lets this process do.

use anyhow::{Result, bail};
use weir_tests::lab::missing_capabilities;

/// Fails when this process may not make network namespaces and load BPF programs.
pub(crate) fn require(verb: &str) -> Result<()> {
    let again = format!("sudo --preserve-env=HOME,PATH \"$(command -v cargo)\" xtask {verb}");
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "`cargo xtask {verb}` makes network namespaces and loads BPF programs, which takes root; this is user {}. \
             Run it as root: {again}",
            nix::unistd::geteuid()
        );
    }
    let missing = missing_capabilities()?;
    if !missing.is_empty() {
        bail!(
            "`cargo xtask {verb}` lacks {}, although it is root: a container took them away. Start the container with \
             them (for Docker: --privileged), or run outside",
            missing.join(", ")
        );
    }
    Ok(())
}
