//! The files that TLS with a registry takes, as its table names them.

use std::path::{Path, PathBuf};

use super::registry::Identity;
use super::table::{Found, Table};

/// The files that are named, with the lines of their keys.
#[derive(Debug)]
pub(super) struct TlsFiles {
    /// The certificates (PEM) that may sign the registry's.
    ca: Option<Found<PathBuf>>,
    /// What Weir shows the registry.
    pub(super) cert: Option<Found<PathBuf>>,
    /// Its private key.
    pub(super) key: Option<Found<PathBuf>>,
}

impl TlsFiles {
    /// The keys that name them.
    pub(super) const KEYS: [&'static str; 3] = ["ca_file", "cert_file", "key_file"];

    /// Reads them; paths start at `directory`.
    pub(super) fn read(table: &mut Table<'_, '_>, directory: &Path) -> Self {
        let [ca, cert, key] = Self::KEYS;
        let mut path = |key, expected| {
            let Found { value, line } = table.string(key, expected, usize::MAX)?;
            Some(Found { value: directory.join(value), line })
        };
        Self {
            ca: path(ca, "the path of a PEM file of certificates"),
            cert: path(cert, "the path of a PEM certificate"),
            key: path(key, "the path of a PEM private key"),
        }
    }

    /// Notes of each that it has no use; `text` says beside what it was found, and what was expected.
    pub(super) fn refuse(&self, table: &Table<'_, '_>, text: &str) {
        for (key, found) in Self::KEYS.iter().zip([&self.ca, &self.cert, &self.key]) {
            if let Some(found) = found {
                table.problem(found.line, key, format!("{text}: without TLS it has no use"));
            }
        }
    }

    /// Who may sign the registry's certificate, and what Weir shows the registry.
    pub(super) fn into_parts(self) -> (Option<PathBuf>, Option<Identity>) {
        let identity = self.cert.zip(self.key);
        let identity = identity.map(|(cert, key)| Identity { cert_file: cert.value, key_file: key.value });
        (self.ca.map(|found| found.value), identity)
    }
}
