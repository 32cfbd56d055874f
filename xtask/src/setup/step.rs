//! A step of the plan: what, why, and the commands.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo;

/// Something that is missing, and how it comes here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// What is missing, a noun.
    pub(crate) what: String,
    /// What it is for: a sentence.
    pub(crate) why: String,
    /// Whether only root can do it.
    pub(crate) needs_root: bool,
    /// Whether it is for a person to do: the actions are advice.
    pub(crate) by_hand: bool,
    /// What brings it, in order.
    pub(crate) actions: Vec<Action>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run a command, in a directory if it says so.
    Run(Vec<String>, Option<PathBuf>),
    /// Make a directory and those above it.
    MakeDir(PathBuf),
    /// Write a file.
    Write(PathBuf, String),
    /// Advice: nothing is done.
    Note(String),
}

impl Action {
    /// A command of these words.
    pub(crate) fn run(words: &[&str]) -> Self {
        Self::Run(words.iter().map(|word| (*word).to_owned()).collect(), None)
    }

    /// The action as a line for a shell; `prefix` goes before commands.
    pub(crate) fn shown(&self, prefix: &str) -> String {
        match self {
            Self::Note(text) => text.clone(),
            Self::Run(words, None) => format!("{prefix}{}", quoted(words)),
            Self::Run(words, Some(dir)) => {
                format!("(cd {} && {prefix}{})", quote(&dir.to_string_lossy()), quoted(words))
            }
            Self::MakeDir(dir) => format!("mkdir -p {}", quote(&dir.to_string_lossy())),
            Self::Write(path, text) => {
                format!("printf '%s\\n' {} > {}", quote(text.trim_end()), quote(&path.to_string_lossy()))
            }
        }
    }

    fn apply(&self) -> Result<()> {
        match self {
            Self::Note(_) => Ok(()),
            Self::MakeDir(dir) => {
                std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
            }
            Self::Write(path, text) => {
                std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
            }
            Self::Run(words, dir) => {
                let (program, arguments) = words.split_first().expect("a command has a program");
                let mut command = Command::new(program);
                command.args(arguments).stdin(Stdio::null()).stdout(cargo::to_stderr()?);
                // Nobody is asked anything.
                command.env("DEBIAN_FRONTEND", "noninteractive");
                if let Some(dir) = dir {
                    command.current_dir(dir);
                }
                let status = command.status().with_context(|| format!("cannot run `{}`", self.shown("")))?;
                if !status.success() {
                    bail!("`{}` failed ({status}); what it wrote is above", self.shown(""));
                }
                Ok(())
            }
        }
    }
}

impl Step {
    /// Does it.
    pub(crate) fn apply(&self) -> Result<()> {
        self.actions.iter().try_for_each(Action::apply).with_context(|| format!("cannot bring {}", self.what))
    }
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_shell_takes_them() {
        assert_eq!(Action::run(&["apt-get", "install", "-y", "gcc"]).shown("sudo "), "sudo apt-get install -y gcc");
        let spaced = Action::Run(vec!["touch".into(), "it's".into()], Some("/a b".into()));
        assert_eq!(spaced.shown(""), r"(cd '/a b' && touch 'it'\''s')");
    }

    #[test]
    fn a_failing_command_is_named() {
        let step = Step {
            what: "nothing".into(),
            why: String::new(),
            needs_root: false,
            by_hand: false,
            actions: vec![Action::run(&["false"])],
        };
        let error = format!("{:#}", step.apply().unwrap_err());
        assert!(error.contains("cannot bring nothing") && error.contains("`false` failed"), "{error}");
    }
}
