//! A Consul for the tests, out of Debian's archive.
//!
//! Debian 11 (bullseye) was the last release with a package. It is unpacked into a cache directory, not installed: apt
//! is given lists, sources and an archive of its own there, so the system's package state is not touched.

use std::path::Path;

use anyhow::Result;
use weir_tests::lab::{consul_binary, consul_cache_dir};

use super::debian::Machine;
use super::step::{Action, Step};

const SUITE: &str = "bullseye";
/// Debian's keys, those of its older releases among them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The step that unpacks it, where there is none.
pub(super) fn plan(machine: &Machine) -> Result<Option<Step>> {
    if consul_binary().exists() {
        return Ok(None);
    }
    let step = Step {
        what: "a Consul for the tests".to_owned(),
        why: format!("The tests follow a real Consul; Debian's {SUITE} has one. It is unpacked, not installed."),
        needs_root: false,
        by_hand: false,
        actions: vec![],
    };
    if !machine.is_debian {
        let advice = "# install Consul 1.8 or newer on the PATH, or name it in CONSUL_BINARY".to_owned();
        return Ok(Some(Step { by_hand: true, actions: vec![Action::Note(advice)], ..step }));
    }
    let Some(mirror) = system_mirror(Path::new("/etc/apt")) else {
        let advice = "# /etc/apt names no mirror of Debian: install Consul 1.8 or newer on the PATH, or name it in \
                      CONSUL_BINARY";
        return Ok(Some(Step { by_hand: true, actions: vec![Action::Note(advice.to_owned())], ..step }));
    };
    let dir = consul_cache_dir();
    let apt = dir.join("apt");
    let path = |below: &str| apt.join(below).to_string_lossy().into_owned();
    // Sandbox: the user `_apt` may not enter a cache directory of root's.
    let settings = format!(
        "Dir::Etc::SourceList \"{}\"; Dir::Etc::SourceParts \"-\"; Dir::State::Lists \"{}\"; Dir::Cache \"{}\"; \
         APT::Sandbox::User \"root\"; Acquire::Languages \"none\";\n",
        path("sources.list"),
        path("lists"),
        path("cache"),
    );
    let conf = path("apt.conf");
    let apt_get = |arguments: &[&str], dir| {
        let words = [&["apt-get", "-q", "-c", conf.as_str()], arguments].concat();
        Action::Run(words.into_iter().map(str::to_owned).collect(), dir)
    };
    let unpack =
        ["sh", "-ec", r#"dpkg-deb -x "$1"/consul_*.deb "$2""#, "unpack", &path("debs"), &dir.to_string_lossy()];
    let actions = vec![
        Action::MakeDir(apt.join("lists/partial")),
        Action::MakeDir(apt.join("cache/archives/partial")),
        Action::MakeDir(apt.join("debs")),
        Action::Write(apt.join("sources.list"), format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n")),
        Action::Write(apt.join("apt.conf"), settings),
        apt_get(&["update"], None),
        apt_get(&["download", "consul"], Some(apt.join("debs"))),
        Action::run(&unpack),
    ];
    Ok(Some(Step { actions, ..step }))
}

/// The mirror of Debian that the system uses: the first in `sources.list`, then in `sources.list.d`.
fn system_mirror(etc_apt: &Path) -> Option<String> {
    let classic = std::fs::read_to_string(etc_apt.join("sources.list")).unwrap_or_default();
    let parts = std::fs::read_dir(etc_apt.join("sources.list.d")).into_iter().flatten().flatten();
    let mut parts: Vec<_> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    from_classic(&classic).or_else(|| {
        parts.iter().find_map(|path| {
            let text = std::fs::read_to_string(path).ok()?;
            match path.extension()?.to_str()? {
                "list" => from_classic(&text),
                "sources" => from_deb822(&text),
                _ => None,
            }
        })
    })
}

/// `deb [options] URI suite component…` (sources.list(5), one-line style).
fn from_classic(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
        rest.split_whitespace().next().filter(|uri| is_debian(uri)).map(str::to_owned)
    })
}

/// `URIs: URI…` (sources.list(5), deb822 style).
fn from_deb822(text: &str) -> Option<String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let uris = fields.filter(|(key, _)| key.eq_ignore_ascii_case("uris"));
    uris.flat_map(|(_, uris)| uris.split_whitespace()).find(|uri| is_debian(uri)).map(str::to_owned)
}

/// A mirror of the archive itself ends so; security's and third parties' archives do not.
fn is_debian(uri: &str) -> bool {
    uri.trim_end_matches('/').ends_with("/debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_systems() {
        let classic = "# deb http://no/debian x main\ndeb-src http://src/debian bookworm main\n\
                       deb [arch=amd64 signed-by=/k.gpg] https://packages.example/apt x main\n\
                       deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib\n";
        assert_eq!(from_classic(classic).as_deref(), Some("http://mirror.example/debian"));
        let deb822 = "Types: deb\nURIs: http://deb.example/debian-security\nSuites: s\n\nTypes: deb\n\
                      # URIs: http://no/debian\nURIs: http://deb.example/debian/\nSuites: bookworm\n";
        assert_eq!(from_deb822(deb822).as_deref(), Some("http://deb.example/debian/"));
        assert_eq!(from_classic(""), None);
    }
}
