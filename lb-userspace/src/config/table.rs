//! A typed reader over one TOML table: every read says what it expected, and what nobody read is a misspelling.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::document::{Document, quoted};
use super::duration::parse_duration;
use super::nearest::nearest;

/// The shortest and the longest duration that a file may ask for.
const DURATIONS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// A value and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) line: usize,
}

/// A table being read.
#[derive(Debug)]
pub(crate) struct Table<'d, 't> {
    document: &'d Document,
    table: &'d DeTable<'t>,
    /// The line of its header, or of its brace.
    pub(crate) line: usize,
    /// Its own path, empty for the root.
    path: String,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl<'d, 't> Table<'d, 't> {
    pub(super) fn root(document: &'d Document, table: &'d DeTable<'t>) -> Self {
        Self { document, table, line: 1, path: String::new(), known: Vec::new() }
    }

    /// Calls the table `path` from now on.
    pub(crate) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// The path of a key of this table.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { name(key).into_owned() } else { format!("{}.{}", self.path, name(key)) }
    }

    /// Notes a problem with a key.
    pub(crate) fn problem(&self, line: usize, key: &str, text: impl Into<String>) {
        self.document.problem(line, &self.key(key), text.into());
    }

    /// Whether the table has `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether `key` is a string.
    pub(crate) fn is_string(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().as_str().is_some())
    }

    /// How many elements the array `key` has; 0 when it is none.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.table.get(key).and_then(|value| value.get_ref().as_array()).map_or(0, |values| values.len())
    }

    /// The keys of a table whose keys are names, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'d str, usize)> {
        self.table.keys().map(|key| (key.get_ref().as_ref(), self.document.line(key.span().start)))
    }

    /// Reads `key` if it is there: `read` returns the value, or what was found instead.
    pub(crate) fn get<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'d DeValue<'t>) -> Result<T, String>,
    ) -> Option<Found<T>> {
        self.known.push(key);
        let value = self.table.get(key)?;
        let line = self.document.line(value.span().start);
        match read(value.get_ref()) {
            Ok(value) => Some(Found { value, line }),
            Err(found) => {
                self.problem(line, key, format!("found {found}, expected {expected}"));
                None
            }
        }
    }

    /// Says that `key` is missing unless it is there.
    pub(crate) fn require(&self, key: &str, expected: &str) {
        if !self.has(key) {
            self.problem(self.line, key, format!("found nothing, expected {expected}"));
        }
    }

    /// A string on one line that is not empty and has at most `max` bytes.
    pub(crate) fn string(&mut self, key: &'static str, expected: &str, max: usize) -> Option<Found<&'d str>> {
        self.get(key, expected, |value| text(value, max))
    }

    /// An integer between two bounds, both included.
    pub(crate) fn integer(&mut self, key: &'static str, expected: &str, min: u64, max: u64) -> Option<Found<u64>> {
        self.get(key, expected, |value| match value {
            DeValue::Integer(found) => {
                integer(found).filter(|value| (min..=max).contains(value)).ok_or_else(|| found.to_string())
            }
            other => Err(describe(other)),
        })
    }

    /// One of the words of `choices`; a word that is none of them is told the nearest.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Option<Found<T>> {
        if !self.has(key) {
            self.known.push(key);
            return None;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        self.get(key, &one_of(&words), |value| match value {
            DeValue::String(found) => {
                choices.iter().find(|(word, _)| word == found).map(|(_, choice)| *choice).ok_or_else(|| quoted(found))
            }
            other => Err(describe(other)),
        })
    }

    /// A string of which `parse` makes something.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Found<T>> {
        self.get(key, expected, |value| {
            let found = text(value, usize::MAX)?;
            parse(found).ok_or_else(|| quoted(found))
        })
    }

    /// A duration in whole seconds, from 1s to 24h.
    pub(crate) fn duration(&mut self, key: &'static str, expected: &str) -> Option<Found<Duration>> {
        let (shortest, longest) = DURATIONS;
        self.parsed(key, expected, |text| parse_duration(text).filter(|found| (shortest..=longest).contains(found)))
    }

    /// An IP address that `check` accepts; its error says what kind was found.
    pub(crate) fn address(
        &mut self,
        key: &'static str,
        expected: &str,
        check: impl FnOnce(IpAddr) -> Result<(), String>,
    ) -> Option<Found<IpAddr>> {
        self.get(key, expected, |value| {
            let found = text(value, usize::MAX)?;
            let address = found.parse().map_err(|_| quoted(found))?;
            check(address).map_err(|kind| format!("{address}, {kind}"))?;
            Ok(address)
        })
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<Found<bool>> {
        self.get(key, "true or false", |value| match value {
            DeValue::Boolean(found) => Ok(*found),
            other => Err(describe(other)),
        })
    }

    /// An array of IP addresses that `check` accepts, each with its line; those that are none are told one by one.
    pub(crate) fn addresses(
        &mut self,
        key: &'static str,
        expected: &str,
        check: impl Fn(IpAddr) -> Result<(), String>,
    ) -> Vec<Found<IpAddr>> {
        let found = self.get(key, expected, |value| match value {
            DeValue::Array(values) => Ok(values),
            other => Err(describe(other)),
        });
        let mut addresses = Vec::new();
        for value in found.map(|found| found.value.iter()).into_iter().flatten() {
            let line = self.document.line(value.span().start);
            let read = text(value.get_ref(), usize::MAX).and_then(|text| {
                let address = text.parse().map_err(|_| quoted(text))?;
                check(address).map(|()| address).map_err(|kind| format!("{address}, {kind}"))
            });
            match read {
                Ok(value) => addresses.push(Found { value, line }),
                Err(found) => self.problem(line, key, format!("found {found}, expected {expected}")),
            }
        }
        addresses
    }

    /// An array of at most `max` strings of at most `max_bytes` each.
    pub(crate) fn strings(
        &mut self,
        key: &'static str,
        expected: &str,
        max: usize,
        max_bytes: usize,
    ) -> Option<Found<Vec<String>>> {
        self.get(key, expected, |value| match value {
            DeValue::Array(values) if values.len() > max => Err(format!("{} of them", values.len())),
            DeValue::Array(values) => {
                values.iter().map(|value| text(value.get_ref(), max_bytes).map(str::to_owned)).collect()
            }
            other => Err(describe(other)),
        })
    }

    /// The table `[key]`.
    pub(crate) fn table(&mut self, key: &'static str, expected: &str) -> Option<Table<'d, 't>> {
        let path = self.key(key);
        let document = self.document;
        let found = self.get(key, expected, |value| match value {
            DeValue::Table(table) => Ok(table),
            other => Err(describe(other)),
        })?;
        Some(Table { document, table: found.value, line: found.line, path, known: Vec::new() })
    }

    /// The table called `key` of a table whose keys are names.
    pub(crate) fn named(&self, key: &str, expected: &str) -> Option<Table<'d, 't>> {
        let value = self.table.get(key)?;
        let line = self.document.line(value.span().start);
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Table { document: self.document, table, line, path: self.key(key), known: Vec::new() })
            }
            other => {
                self.problem(line, key, format!("found {}, expected {expected}", describe(other)));
                None
            }
        }
    }

    /// The tables `[[key]]`, called `key[1]`, `key[2]`, …; with `single`, one table alone will do.
    pub(crate) fn tables(&mut self, key: &'static str, expected: &str, single: bool) -> Vec<Table<'d, 't>> {
        let path = self.key(key);
        let document = self.document;
        let found = self.get(key, expected, |value| match value {
            DeValue::Table(table) if single => Ok(vec![(None, table)]),
            DeValue::Array(values) => values.iter().map(element).collect(),
            other => Err(describe(other)),
        });
        let Some(found) = found else { return Vec::new() };
        let line_of = |at: Option<usize>| at.map_or(found.line, |at| document.line(at));
        let path_of = |index: usize, at: Option<usize>| match at {
            Some(_) => format!("{path}[{}]", index + 1),
            None => path.clone(),
        };
        let tables = found.value.into_iter().enumerate();
        tables
            .map(|(index, (at, table))| Table {
                document,
                table,
                line: line_of(at),
                path: path_of(index, at),
                known: Vec::new(),
            })
            .collect()
    }

    /// Says of every key that nobody asked for that it is unknown, and which it may have been meant to be.
    pub(crate) fn finish(self) {
        for key in self.table.keys() {
            let found = key.get_ref().as_ref();
            if self.known.contains(&found) {
                continue;
            }
            let hint = match nearest(found, &self.known) {
                Some(near) => format!("{near} (did you mean that?)"),
                None => one_of(&self.known),
            };
            let line = self.document.line(key.span().start);
            self.problem(line, found, format!("found an unknown key, expected {hint}"));
        }
    }
}

/// A key as TOML wants it written: quoted unless it is a bare key.
pub(crate) fn name(key: &str) -> Cow<'_, str> {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(bare) { Cow::Borrowed(key) } else { Cow::Owned(quoted(key)) }
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn element<'d, 't>(value: &'d Spanned<DeValue<'t>>) -> Result<(Option<usize>, &'d DeTable<'t>), String> {
    match value.get_ref() {
        DeValue::Table(table) => Ok((Some(value.span().start), table)),
        other => Err(format!("{} in the array", describe(other))),
    }
}

fn text<'d>(value: &'d DeValue<'_>, max: usize) -> Result<&'d str, String> {
    let DeValue::String(found) = value else { return Err(describe(value)) };
    if found.is_empty() {
        Err("an empty string".to_owned())
    } else if found.len() > max {
        Err(format!("{}, {} bytes", quoted(found), found.len()))
    } else if found.chars().any(char::is_control) {
        Err(format!("{}, with control characters", quoted(found)))
    } else {
        Ok(found)
    }
}

fn integer(found: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(found.as_str(), found.radix()).ok()
}

/// A value of the wrong type, as a message names it.
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(found) => format!("the string {}", quoted(found)),
        DeValue::Integer(found) => format!("the integer {found}"),
        DeValue::Float(found) => format!("the float {found}"),
        DeValue::Boolean(found) => found.to_string(),
        DeValue::Datetime(found) => format!("the date {found}"),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
