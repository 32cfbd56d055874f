//! Commands of the system, run to their end.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command to its end and returns what it wrote to its standard output. A failure's text has the command, how
/// it ended and what it wrote to its standard error.
pub fn run(command: &mut Command) -> Result<String> {
    checked(command, None)
}

/// Runs a command to its end, without standard input, and returns all it said, however it ended.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", shown(command)))
}

/// [`run`] with something to read on its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    checked(command, Some(input))
}

fn checked(command: &mut Command, input: Option<&str>) -> Result<String> {
    let output = match input {
        None => output(command)?,
        Some(input) => feed(command, input).with_context(|| format!("cannot run {}", shown(command)))?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let read = input.map(|text| format!("\nit was given:\n{text}")).unwrap_or_default();
        bail!("{} failed ({}): {}{read}", shown(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn feed(command: &mut Command, input: &str) -> std::io::Result<Output> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever reads nothing of it says so by how it ends.
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    child.wait_with_output()
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    format!("`{}`", words.join(" "))
}
