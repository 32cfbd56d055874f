//! The labels of limits.

use std::collections::BTreeMap;
use std::path::Path;

use super::Reader;
use crate::config::{Document, LIMIT_KEYS, Limit, MAX_LIMITS, one_of, quoted, read_limit};

/// What they begin with.
pub(super) const LIMIT: &str = "weir.limit.";

impl Reader<'_> {
    /// The limits: one written `weir.limit.KEY`, and others written `weir.limit.NAME.KEY`, in alphabetical order.
    pub(super) fn limits(&mut self) -> Vec<Limit> {
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for (label, value) in self.labels.iter().filter(|(label, _)| label.starts_with(LIMIT)) {
            let rest = label.strip_prefix(LIMIT).unwrap_or_default();
            let (name, key) = rest.rsplit_once('.').unwrap_or(("", rest));
            let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if key.is_empty() || !key.bytes().all(bare) || LIMIT_KEYS.contains(&name) {
                let expected = format!("{LIMIT}KEY or {LIMIT}NAME.KEY, where KEY is {}", one_of(&LIMIT_KEYS));
                self.problems.push(format!("{}: found an unknown label, expected {expected}", quoted(label)));
                continue;
            }
            // As weir.toml has it, so that the same code reads it.
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let value = if digits && (value == "0" || !value.starts_with('0')) {
                value.clone()
            } else {
                toml::Value::String(value.clone()).to_string()
            };
            let text = texts.entry(name).or_default();
            text.push_str(&format!("{key} = {value}\n"));
        }
        if texts.len() > MAX_LIMITS {
            self.problems.push(format!("{LIMIT}…: found {} limits, expected at most {MAX_LIMITS}", texts.len()));
        }
        let mut limits = Vec::new();
        for (name, text) in texts.into_iter().take(MAX_LIMITS) {
            match Document::read(Path::new("labels"), &text, read_limit) {
                Ok(limit) => limits.push(limit),
                Err(error) => {
                    let prefix = if name.is_empty() { LIMIT.to_owned() } else { format!("{LIMIT}{name}.") };
                    let told = error.problems.into_iter();
                    self.problems.extend(told.map(|problem| format!("{prefix}{}: {}", problem.key, problem.text)));
                }
            }
        }
        limits
    }
}
