//! What is wrong with a file a person wrote, in lines that a person can act on.

use std::fmt;
use std::path::{Path, PathBuf};

/// How many problems of one file are reported: the rest of a long list teaches nothing new.
pub const MAX_PROBLEMS: usize = 50;

/// One thing that is wrong: `FILE:LINE: KEY: found X, expected Y`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to us.
    pub file: PathBuf,
    /// The line, counted from 1; `None` when the whole file is meant.
    pub line: Option<usize>,
    /// The key, as a path (`service.web.limit.rate`); empty when no key is meant.
    pub key: String,
    /// What was found, what was expected and, where that helps, what to do.
    pub text: String,
}

impl Problem {
    /// A problem with a whole file.
    pub fn with_file(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, key: String::new(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Everything that is wrong with a file, in the order of its lines. Displayed as one line a problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The problems; never empty.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// The problems, sorted by line and cut to [`MAX_PROBLEMS`].
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        if let (true, Some(first)) = (problems.len() > MAX_PROBLEMS, problems.first()) {
            let more = problems.len() - MAX_PROBLEMS;
            let last = Problem::with_file(&first.file, format!("and {more} more problems"));
            problems.truncate(MAX_PROBLEMS);
            problems.push(last);
        }
        Self { problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
