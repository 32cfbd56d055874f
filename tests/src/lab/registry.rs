//! A file registry to edit, as a person's editor or a deployment's script would.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::topology::Lab;

/// One `[[backend]]` of a registry file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `id`.
    pub id: String,
    /// `address`.
    pub address: IpAddr,
    /// `port`.
    pub port: u16,
    /// `weight`.
    pub weight: u16,
}

impl Entry {
    /// A backend of a service.
    pub fn new(id: impl Into<String>, address: impl Into<IpAddr>, port: u16, weight: u16) -> Self {
        Self { id: id.into(), address: address.into(), port, weight }
    }
}

/// The directory of a file registry: `services.d` in a lab's directory, next to Weir's configuration.
#[derive(Debug, Clone)]
pub struct FileRegistry {
    dir: PathBuf,
    staging: PathBuf,
}

impl FileRegistry {
    /// Makes the directory.
    pub fn new(lab: &Lab) -> Result<Self> {
        let dir = lab.dir().join("services.d");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir, staging: lab.dir().join("services.d.staging") })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Publishes a service's backends: writes `SERVICE.toml` beside the directory and renames it into place, so that
    /// nobody reads half of it.
    pub fn publish(&self, service: &str, backends: &[Entry]) -> Result<()> {
        self.write(&format!("{service}.toml"), &file_text(service, backends))
    }

    /// Renames a file with this text, good or bad, into place.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let target = self.dir.join(file);
        std::fs::write(&self.staging, text).with_context(|| format!("cannot write {}", self.staging.display()))?;
        std::fs::rename(&self.staging, &target).with_context(|| format!("cannot put {} in place", target.display()))
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) -> Result<()> {
        let target = self.dir.join(file);
        std::fs::remove_file(&target).with_context(|| format!("cannot remove {}", target.display()))
    }
}

fn file_text(service: &str, backends: &[Entry]) -> String {
    let mut text = format!("service = {service:?}\n");
    for Entry { id, address, port, weight } in backends {
        write!(text, "\n[[backend]]\nid = {id:?}\naddress = \"{address}\"\nport = {port}\nweight = {weight}\n")
            .expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_file_reads_as_documented() {
        let text = file_text("web", &[Entry::new("web-1", [10, 0, 1, 11], 8080, 100)]);
        assert_eq!(
            text,
            "service = \"web\"\n\n[[backend]]\nid = \"web-1\"\naddress = \"10.0.1.11\"\nport = 8080\nweight = 100\n"
        );
    }
}
