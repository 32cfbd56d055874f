//! The way to a file: every symbolic link on it, and where it ends.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The kernel gives up after as many links on one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The paths whose replacement changes what `path` leads to: each symbolic link on the way, then the file itself, or the
/// first part of the way that is not there. Each is free of links but for its last component. `path` is absolute.
pub(super) fn route(path: &Path) -> Vec<PathBuf> {
    let mut stops = Vec::new();
    let mut here = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(path).collect();
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        let Ok(metadata) = next.symlink_metadata() else {
            here = next;
            break;
        };
        if !metadata.is_symlink() {
            here = next;
            continue;
        }
        let target = next.read_link();
        stops.push(next);
        let Ok(target) = target else { return stops };
        if stops.len() >= MAX_LINKS {
            return stops;
        }
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            rest.push_front(part);
        }
    }
    stops.push(here);
    stops
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_of_a_config_map_is_a_stop() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path().canonicalize().expect("there");
        std::fs::create_dir(at.join("..2026")).expect("made");
        std::fs::write(at.join("..2026/web.toml"), "").expect("written");
        symlink("..2026", at.join("..data")).expect("linked");
        symlink("..data/web.toml", at.join("web.toml")).expect("linked");
        let expected = [at.join("web.toml"), at.join("..data"), at.join("..2026/web.toml")];
        assert_eq!(route(&at.join("web.toml")), expected);
    }

    #[test]
    fn what_is_missing_and_what_goes_in_circles_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path().canonicalize().expect("there");
        assert_eq!(route(&at.join("a/b/c")), [at.join("a")]);
        symlink("loop", at.join("loop")).expect("linked");
        assert_eq!(route(&at.join("loop")).len(), MAX_LINKS);
    }
}
