//! A TOML file being read: it knows its lines and collects everything that is wrong, so that a person mends a file
//! in one go.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::problem::{ConfigError, Problem};
use super::table::Table;

/// The largest file that is read, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 16 << 20;

/// How many faults of TOML itself are reported: one unclosed quote makes many.
const MAX_SYNTAX_PROBLEMS: usize = 5;

/// How much of a person's text a message repeats, in characters.
const MAX_QUOTED: usize = 60;

/// Reads a file of at most [`MAX_FILE_BYTES`] as text; `what` says what it should have been.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, Problem> {
    let bytes = read_bytes(path).map_err(|found| Problem::with_file(path, format!("{found}, expected {what}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
        Problem {
            file: path.to_owned(),
            line: Some(line),
            key: String::new(),
            text: format!("found bytes that are not UTF-8, expected {what}"),
        }
    })
}

/// Reads a regular file of at most [`MAX_FILE_BYTES`]. The error begins with "found" or "cannot be read".
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Looked at before it is opened: opening a FIFO would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(if metadata.is_dir() { "found a directory".into() } else { "found no regular file".into() });
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("found more than {MAX_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}

/// A person's text as a message repeats it: quoted, on one line, cut when long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// A TOML file being read.
#[derive(Debug)]
pub(crate) struct Document {
    file: PathBuf,
    /// The offset of each line feed.
    line_ends: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl Document {
    /// Parses `text` and hands its root table to `read`. What `read` returns counts only if nobody found a problem.
    pub(crate) fn read<T>(
        file: &Path,
        text: &str,
        read: impl FnOnce(Table<'_, '_>) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        let document = Self { file: file.to_owned(), line_ends, problems: RefCell::default() };
        let (root, faults) = DeTable::parse_recoverable(text);
        if faults.is_empty() {
            let outcome = read(Table::root(&document, root.get_ref()));
            let problems = document.problems.into_inner();
            match outcome {
                Some(outcome) if problems.is_empty() => return Ok(outcome),
                // Readers say why they return nothing. Should one forget, refuse all the same.
                None if problems.is_empty() => {
                    let text = "cannot be understood; that this message does not say why is a fault of Weir's";
                    return Err(ConfigError::new(vec![Problem::with_file(file, text)]));
                }
                _ => return Err(ConfigError::new(problems)),
            }
        }
        for fault in faults.iter().take(MAX_SYNTAX_PROBLEMS) {
            let span = fault.span().unwrap_or_default();
            let line = document.line(span.start);
            let secret = text.lines().nth(line - 1).is_some_and(|line| line.contains("token"));
            let found = match text.get(span).and_then(|found| found.lines().next()) {
                Some(found) if !found.is_empty() && !secret => format!("found {}: ", quoted(found)),
                _ => String::new(),
            };
            document.problem(line, "", format!("not TOML: {found}{}", fault.message()));
        }
        Err(ConfigError::new(document.problems.into_inner()))
    }

    /// The line of a byte offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }

    /// Notes a problem.
    pub(super) fn problem(&self, line: usize, key: &str, text: String) {
        let problem = Problem { file: self.file.clone(), line: Some(line), key: key.to_owned(), text };
        self.problems.borrow_mut().push(problem);
    }
}
