//! `weir plan`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Output, Socket, report};
use crate::api::types::{PlanBackend, PlanFile, PlanQuestion, PlanReport};
use crate::config::read_text;

/// How long the answer may take: registries are asked, and large tables are built.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("change").required(true)))]
pub(super) struct Args {
    /// What if this were the configuration? Registries that the running Weir does not follow are asked now
    #[arg(long, value_name = "FILE", group = "change")]
    config: Option<PathBuf>,
    /// What if this backend of a service had this weight? One that is not there joins it; may be repeated
    #[arg(long = "backend", value_name = "SERVICE/ADDRESS:PORT=WEIGHT", value_parser = backend, group = "change")]
    backends: Vec<PlanBackend>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let config = self.config.as_deref().map(file).transpose()?;
        let question = PlanQuestion { config, backends: self.backends };
        let client = self.socket.client()?.with_timeout(PATIENCE);
        let report: PlanReport = client.post("plan", &question).await?;
        self.output.print(&report, report::text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The file as Weir is to understand it, wherever that was started.
fn file(path: &Path) -> Result<PlanFile> {
    let text =
        read_text(path, "a configuration: a readable TOML file").map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let absolute = std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))?;
    let path = absolute.into_os_string().into_string().map_err(|path| {
        anyhow::anyhow!("found the path {}, which is not UTF-8, expected one that is", path.display())
    })?;
    Ok(PlanFile { path, text })
}

/// `SERVICE/ADDRESS:PORT=WEIGHT`. A service's name may have slashes and equals signs; addresses and weights have none.
fn backend(text: &str) -> Result<PlanBackend, String> {
    let read = || {
        let (rest, weight) = text.rsplit_once('=')?;
        let (service, listens) = rest.rsplit_once('/')?;
        let listens: SocketAddr = listens.parse().ok()?;
        let weight = weight.parse().ok()?;
        let good = !service.is_empty() && listens.port() > 0;
        good.then(|| PlanBackend { service: service.to_owned(), address: listens.ip(), port: listens.port(), weight })
    };
    read().ok_or_else(|| {
        "expected SERVICE/ADDRESS:PORT=WEIGHT, such as web/10.0.1.11:8080=200 or web/[2001:db8::1]:80=0".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_understood() {
        let expected = |service: &str, address: &str, port, weight| {
            Ok(PlanBackend { service: service.into(), address: address.parse().expect("an address"), port, weight })
        };
        assert_eq!(backend("web/10.0.1.11:8080=200"), expected("web", "10.0.1.11", 8080, 200));
        assert_eq!(backend("web/[2001:db8::1]:80=0"), expected("web", "2001:db8::1", 80, 0));
        assert_eq!(backend("a/b=c/10.0.1.11:1=65535"), expected("a/b=c", "10.0.1.11", 1, 65_535));
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "",
            "web",
            "web/10.0.1.11=1",
            "web/10.0.1.11:80",
            "/10.0.1.11:80=1",
            "web/10.0.1.11:0=1",
            "web/10.0.1.11:80=65536",
            "web/10.0.1.11:80=-1",
            "web/2001:db8::1:80=1",
            "10.0.1.11:80=1",
            "web/b1:80=1",
        ] {
            let error = backend(text).expect_err(text);
            assert!(error.contains("such as web/10.0.1.11:8080=200"), "{error}");
        }
    }

    #[test]
    fn a_file_is_sent_with_where_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("weir.toml");
        std::fs::write(&path, "[weir]\n").expect("written");
        let sent = file(&path).expect("read");
        assert_eq!((Path::new(&sent.path), sent.text.as_str()), (path.as_path(), "[weir]\n"));
        let error = file(&directory.path().join("none.toml")).expect_err("none").to_string();
        assert!(error.contains("none.toml: cannot be read: No such file"), "{error}");
    }
}
