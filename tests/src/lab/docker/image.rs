//! The image of the lab's containers, made without a registry: BusyBox, the lab's server, and the libraries it needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::engine::Engine;
use crate::lab::command::{output, run};

/// The name of the image. Its containers serve unless they are told something else.
pub const IMAGE: &str = "weir-lab";

/// The server in the image.
pub(super) const SERVER: &str = "/bin/lab-server";

/// What of BusyBox there is in the image.
const APPLETS: [&str; 12] =
    ["cat", "hostname", "ip", "ls", "nc", "nslookup", "ping", "ping6", "rm", "sh", "sleep", "touch"];

/// The `lab-server` that was built with the program that runs: in the same profile's directory (a test is in its
/// `deps`).
pub fn default_server() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let dir = program.parent().expect("a program is in a directory");
    let dir = if dir.ends_with("deps") { dir.parent().expect("deps is in a directory") } else { dir };
    dir.join("lab-server")
}

impl Engine {
    /// Makes the image [`IMAGE`] out of this `lab-server`.
    pub fn make_image(&self, server: &Path) -> Result<()> {
        ensure!(server.exists(), "there is no {}: `cargo build -p weir-tests --bins` makes it", server.display());
        let root = self.dir().join("image");
        for dir in ["bin", "tmp", "etc", "proc", "sys", "dev"] {
            std::fs::create_dir_all(root.join(dir)).with_context(|| format!("cannot make {dir} of the image"))?;
        }
        let busybox = Path::new("/bin/busybox");
        copy(busybox, &root)?;
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))
                .with_context(|| format!("cannot link {applet} of the image"))?;
        }
        for library in libraries(server)?.into_iter().chain(libraries(busybox)?) {
            copy(&library, &root)?;
        }
        // Without what only a debugger reads, it is a tenth.
        run(Command::new("strip").arg("-o").arg(root.join(&SERVER[1..])).arg(server))?;
        let (archive, entry) = (self.dir().join("image.tar"), format!("ENTRYPOINT [\"{SERVER}\"]"));
        run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
        let path = archive.to_str().context("the lab's directory is not UTF-8")?;
        self.cli(&["import", "--change", &entry, "--change", "CMD [\"serve\"]", path, IMAGE]).map(drop)
    }
}

/// Copies a file to where it is, below another root.
fn copy(file: &Path, root: &Path) -> Result<()> {
    let target = root.join(file.strip_prefix("/").with_context(|| format!("{} is no whole path", file.display()))?);
    let dir = target.parent().context("a file is in a directory")?;
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::copy(file, &target))
        .with_context(|| format!("cannot copy {} into the image", file.display()))?;
    Ok(())
}

/// The libraries that a program loads, by ldd(1), which fails for one that loads none.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = output(Command::new("ldd").arg(program))?;
    Ok(String::from_utf8_lossy(&said.stdout).lines().filter_map(library).collect())
}

/// `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux.so.2 (0x…)`; the vDSO is no file.
fn library(line: &str) -> Option<PathBuf> {
    line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::library;

    #[test]
    fn a_line_of_ldd_names_a_file_or_none() {
        assert_eq!(library("\tlibc.so.6 => /lib/libc.so.6 (0x00007f)"), Some("/lib/libc.so.6".into()));
        assert_eq!(library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"), Some("/lib64/ld-linux-x86-64.so.2".into()));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f)"), None);
    }
}
