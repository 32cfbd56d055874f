//! Whether a binary is what its sources would make now.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

/// Refuses a binary that is not there, or that is older than a source it was made of. Cargo lists the sources in a
/// file beside it (`weir.d`); a binary without such a file is taken as it is.
pub(super) fn ensure_fresh(binary: &Path) -> Result<()> {
    let advice = "`cargo build --bin weir` makes it, `cargo xtask test` sees to that by itself";
    ensure!(binary.exists(), "there is no {}: {advice}", binary.display());
    let Ok(rules) = std::fs::read_to_string(binary.with_extension("d")) else { return Ok(()) };
    let built = modified(binary)?;
    for source in sources(&rules) {
        if let Some(newer) = newer_than(&source, built)? {
            bail!("{} is older than {}: {advice}", binary.display(), newer.display());
        }
    }
    Ok(())
}

/// What a makefile rule's target depends on; spaces in paths are written `\ `.
fn sources(rules: &str) -> Vec<PathBuf> {
    let Some((_, sources)) = rules.lines().next().and_then(|rule| rule.split_once(": ")) else { return vec![] };
    let words = sources.replace("\\ ", "\0");
    words.split_whitespace().map(|word| word.replace('\0', " ").into()).collect()
}

/// The first file at or below `path` that was changed after `built`, or that is gone.
fn newer_than(path: &Path, built: SystemTime) -> Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(Some(path.to_owned()));
    }
    if path.is_file() {
        return Ok((modified(path)? > built).then(|| path.to_owned()));
    }
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        if let Some(newer) = newer_than(&entry?.path(), built)? {
            return Ok(Some(newer));
        }
    }
    Ok(None)
}

fn modified(path: &Path) -> Result<SystemTime> {
    let modified = path.metadata().and_then(|metadata: Metadata| metadata.modified());
    modified.with_context(|| format!("cannot tell when {} was changed", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_its_sources() {
        let rules = "/t/weir: /a/main.rs /a\\ b/lib.rs\n\n/a/main.rs:\n";
        assert_eq!(sources(rules), [Path::new("/a/main.rs"), Path::new("/a b/lib.rs")]);
    }
}
