//! Running cargo on this workspace.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace")
}

/// `cargo ARGUMENTS…` in the workspace; what it writes is this program's own output.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    run_with(arguments, &[])
}

/// [`run`] with variables in the environment.
pub(crate) fn run_with(arguments: &[&str], variables: &[(&str, String)]) -> Result<()> {
    let status = command(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .status()
        .with_context(|| format!("cannot run {}", shown(arguments)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(arguments));
    }
    Ok(())
}

/// Builds the binary called `name` of a package in the release profile and returns where it is. Writes nothing to
/// this program's standard output.
pub(crate) fn build_release(package: &str, name: &str) -> Result<PathBuf> {
    build(package, name, &[], None)
}

/// [`build_release`] with a variable in the environment, beside the build without it.
pub(crate) fn build_release_with(package: &str, name: &str, variable: (&str, &str)) -> Result<PathBuf> {
    build(package, name, &["--target-dir", "target/other"], Some(variable))
}

fn build(package: &str, name: &str, more: &[&str], variable: Option<(&str, &str)>) -> Result<PathBuf> {
    let arguments =
        ["build", "--release", "--package", package, "--bin", name, "--message-format", "json-render-diagnostics"];
    let arguments = [&arguments[..], more].concat();
    let mut child = command(&arguments)
        .envs(variable)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", shown(&arguments)))?;
    let messages = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut executable = None;
    for line in messages.lines() {
        // Cargo's own messages are objects; whatever else is there (a build script's words) is not for us.
        let Ok(message) = serde_json::from_str::<serde_json::Value>(&line?) else { continue };
        if message["target"]["name"] == name {
            executable = message["executable"].as_str().map(PathBuf::from).or(executable);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed ({status})", shown(&arguments));
    }
    executable.with_context(|| format!("{} built no executable {name}", shown(&arguments)))
}

/// Standard error, for a child whose output is not this program's result.
pub(crate) fn to_stderr() -> Result<Stdio> {
    Ok(std::io::stderr().as_fd().try_clone_to_owned().context("cannot use standard error")?.into())
}

fn command(arguments: &[&str]) -> Command {
    // Under cargo this names the cargo that runs us: the same one builds.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

fn shown(arguments: &[&str]) -> String {
    format!("`cargo {}`", arguments.join(" "))
}
