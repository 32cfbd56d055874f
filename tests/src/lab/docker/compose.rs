//! Compose: a file brought up at an engine.

use std::process::Command;

use anyhow::{Context, Result};

use super::engine::Engine;
use crate::lab::command::run;

/// A project of Compose that was brought up. Its containers go with the lab, or by [`Compose::down`].
#[derive(Debug)]
pub struct Compose<'a> {
    engine: &'a Engine,
    project: String,
    file: String,
}

impl<'a> Compose<'a> {
    /// Writes the file and brings it up, detached, with these options.
    pub fn up(engine: &'a Engine, project: &str, text: &str, options: &[&str]) -> Result<Self> {
        let file = engine.dir().join(format!("{project}.yml"));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let file = file.to_str().context("the lab's directory is not UTF-8")?.to_owned();
        let compose = Self { engine, project: project.to_owned(), file };
        compose.run(&[&["up", "--detach"], options].concat())?;
        Ok(compose)
    }

    /// `docker-compose WORDS…` on it: `scale`, `ps`, …
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("/usr/bin/docker-compose");
        self.engine.address(&mut command).env("COMPOSE_HTTP_TIMEOUT", "60");
        command.args(["--no-ansi", "--project-name", &self.project, "--file", &self.file]).args(words);
        run(&mut command)
    }

    /// Removes its containers and networks.
    pub fn down(&self) -> Result<()> {
        self.run(&["down", "--timeout", "1"]).map(drop)
    }
}
