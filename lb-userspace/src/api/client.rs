//! The command line's side of the control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::Refused;

/// How long a question may take unless whoever asks has more patience.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a running controller.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client for the controller behind this socket. Connects with the first question.
    pub fn new(socket: &Path) -> Result<Self> {
        // The HTTP library wants one even where it has nothing to encrypt. An error means that one is there already.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let http = reqwest::Client::builder().unix_socket(socket).build().context("cannot set up an HTTP client")?;
        Ok(Self { http, socket: socket.to_owned(), timeout: TIMEOUT })
    }

    /// The same, but for questions that may take this long.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks for `/v1/PATH`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        self.answer(self.http.get(url(path)).query(query)).await
    }

    /// Tells `/v1/PATH` something.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.answer(self.http.post(url(path)).json(body)).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let response = request.timeout(self.timeout).send().await.map_err(|error| self.explain(&error))?;
        if response.status().is_success() {
            return response.json().await.context("Weir's answer is not what this version understands");
        }
        let status = response.status();
        match response.json::<Refused>().await {
            Ok(refused) => bail!(refused.error),
            Err(_) => bail!("Weir answered {status} on {}", self.socket.display()),
        }
    }

    fn explain(&self, error: &reqwest::Error) -> anyhow::Error {
        let socket = self.socket.display();
        if error.is_timeout() {
            return anyhow::anyhow!(
                "Weir did not answer on {socket} within {} s: it is stopped or overloaded",
                self.timeout.as_secs()
            );
        }
        let kind = io_kind(error);
        match kind {
            Some(std::io::ErrorKind::PermissionDenied) => {
                anyhow::anyhow!("may not open the control socket {socket}: only the user that runs Weir may; use sudo")
            }
            Some(std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => anyhow::anyhow!(
                "Weir does not run: nobody listens on {socket}. Start it with `weir run --config FILE`, or name its \
                 socket with --socket"
            ),
            _ => anyhow::anyhow!("cannot ask Weir on {socket}: {error}"),
        }
    }
}

/// The host part is not used on a Unix socket.
fn url(path: &str) -> String {
    format!("http://weir/v1/{path}")
}

/// The kind of the I/O error at the bottom of an HTTP error.
fn io_kind(error: &reqwest::Error) -> Option<std::io::ErrorKind> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        source = error.source();
    }
    None
}
