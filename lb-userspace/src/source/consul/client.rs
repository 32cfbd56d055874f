//! Questions to a Consul agent over HTTP.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Identity, Response, StatusCode, Url};

use super::health::Endpoints;
use crate::config::{ConsulRegistry, Token, is_token, read_bytes};
use crate::source::{Wanted, use_ring};

/// The largest answer that is read; Consul writes 1 to 2 KiB an instance.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// How much of an error's text is repeated.
const MAX_ERROR_BYTES: usize = 200;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an agent may take beyond the time it was asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A Consul agent that can be asked.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    address: Url,
    token: Option<Token>,
    datacenter: Option<String>,
}

/// What the agent said of one service.
#[derive(Debug)]
pub(super) struct Answer {
    /// What to ask with next, so that the agent answers when something has changed; at least 1.
    pub(super) index: u64,
    pub(super) endpoints: Endpoints,
}

impl Client {
    /// A client of the agent that `registry` describes; nobody is asked yet.
    pub(super) fn new(registry: &ConsulRegistry) -> anyhow::Result<Self> {
        use_ring();
        let address = Url::parse(&registry.address).with_context(|| format!("address: {:?}", registry.address))?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // reqwest takes Authorization from a redirected request, but not X-Consul-Token.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_keepalive(Duration::from_secs(15))
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &registry.ca_file {
            let roots = Certificate::from_pem_bundle(&pem(path, "ca_file")?)
                .with_context(|| format!("ca_file: {}: expected certificates in PEM", path.display()))?;
            if roots.is_empty() {
                bail!("ca_file: {}: found no certificate, expected some in PEM", path.display());
            }
            http = http.tls_certs_only(roots);
        } else if address.scheme() == "http" {
            // No need of the host's certificates, and no failure where it has none.
            http = http.tls_certs_only([]);
        }
        if let Some(identity) = &registry.identity {
            let mut both = pem(&identity.cert_file, "cert_file")?;
            both.push(b'\n');
            both.extend(pem(&identity.key_file, "key_file")?);
            let (cert, key) = (identity.cert_file.display(), identity.key_file.display());
            let identity = Identity::from_pem(&both).with_context(|| {
                format!("cert_file {cert}, key_file {key}: expected a certificate and its private key in PEM")
            })?;
            http = http.identity(identity);
        }
        let http = http.build().with_context(|| format!("no HTTP client for {address}"))?;
        Ok(Self { http, address, token: registry.token.clone(), datacenter: registry.datacenter.clone() })
    }

    /// The agent's address, without anything secret.
    pub(super) fn address(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    /// Asks for the instances of a service: with `index` 0 at once, else when there is news beyond it or after `wait`.
    /// The error names the URL, what was found and what to do.
    pub(super) async fn instances(&self, wanted: &Wanted, index: u64, wait: Duration) -> Result<Answer, String> {
        let mut url = self.address.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["v1", "health", "service", &wanted.service]);
        }
        let plain = url.to_string();
        let failed = |text: String| format!("{plain}: {text}");
        // The agent lengthens the wait by up to a sixteenth (HTTP API, Blocking Queries).
        let timeout = if index > 0 { wait + wait / 16 + ANSWER_TIMEOUT } else { ANSWER_TIMEOUT };
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(wanted.tags.iter().map(|tag| ("tag", tag)));
            query.extend_pairs(self.datacenter.iter().map(|datacenter| ("dc", datacenter)));
            if index > 0 {
                query.append_pair("index", &index.to_string());
                query.append_pair("wait", &format!("{}ms", wait.as_millis()));
            }
        }
        let mut request = self.http.get(url).timeout(timeout);
        if let Some(token) = self.token().await.map_err(&failed)? {
            request = request.header("X-Consul-Token", token);
        }
        let response = request.send().await.map_err(|error| failed(no_answer(&error)))?;
        let status = response.status();
        if status != StatusCode::OK {
            let text = body(response, MAX_ERROR_BYTES).await.unwrap_or_else(|text| text);
            return Err(failed(refused(status, &String::from_utf8_lossy(&text), wanted)));
        }
        let number = |name| response.headers().get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let Some(index) = number("X-Consul-Index") else {
            return Err(failed(
                "found an answer without X-Consul-Index, expected Consul's: is this a Consul agent?".into(),
            ));
        };
        let filtered = response.headers().get("X-Consul-Results-Filtered-By-ACLs").is_some_and(|value| value == "true");
        let answer = body(response, MAX_ANSWER_BYTES).await.map_err(|_| {
            failed(format!("found an answer that breaks off or is larger than {MAX_ANSWER_BYTES} bytes"))
        })?;
        let endpoints = Endpoints::parse(&answer).map_err(&failed)?;
        if filtered && endpoints.endpoints.is_empty() {
            return Err(failed(format!("found instances hidden by ACLs, expected a token with {}", rights(wanted))));
        }
        // An index of 0 would make the next question return at once, for ever.
        Ok(Answer { index: index.max(1), endpoints })
    }

    async fn token(&self) -> Result<Option<HeaderValue>, String> {
        let text = match &self.token {
            None => return Ok(None),
            Some(Token::Inline(secret)) => secret.expose().to_owned(),
            Some(Token::File(path)) => read_token(path.clone()).await?,
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| "the token cannot be sent in a header".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

async fn read_token(path: PathBuf) -> Result<String, String> {
    let name = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || read_bytes(&path)).await;
    let bytes =
        read.map_err(|error| error.to_string()).flatten().map_err(|error| format!("token_file {name}: {error}"))?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if is_token(&text) {
        Ok(text)
    } else {
        Err(format!("token_file {name}: found no token, expected an ACL token alone"))
    }
}

fn pem(path: &Path, key: &str) -> anyhow::Result<Vec<u8>> {
    read_bytes(path).map_err(|error| anyhow::anyhow!("{key}: {}: {error}, expected a PEM file", path.display()))
}

/// The body, of at most `max` bytes; the error is what there was of it.
async fn body(mut response: Response, max: usize) -> Result<Vec<u8>, Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(bytes),
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= max => bytes.extend_from_slice(&chunk),
            Ok(Some(chunk)) => {
                bytes.extend(chunk.into_iter().take(max - bytes.len()));
                return Err(bytes);
            }
            Err(_) => return Err(bytes),
        }
    }
}

fn no_answer(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "found no answer in time, expected one: is the agent overloaded?".to_owned();
    }
    // The first causes only repeat the URL; the last one says what happened.
    let mut cause = error.source();
    let mut text = String::from("the request failed");
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    let hint = if text.contains("UnknownIssuer") {
        ": name who signed the agent's certificate in ca_file"
    } else if text.contains("NotValidForName") {
        ": write the address with a name that the agent's certificate has"
    } else if text.contains("fatal alert") {
        ": the agent may want another cert_file and key_file"
    } else if error.is_connect() {
        ": is the agent running, and is this its address?"
    } else {
        ""
    };
    format!("{text}{hint}")
}

fn rights(wanted: &Wanted) -> String {
    format!("node:read and service:read on {:?}", wanted.service)
}

fn refused(status: StatusCode, text: &str, wanted: &Wanted) -> String {
    let todo = match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => format!("expected a token with {}", rights(wanted)),
        StatusCode::NOT_FOUND => "expected 200: is this a Consul agent?".to_owned(),
        StatusCode::TOO_MANY_REQUESTS => "expected 200: raise the agent's limits.http_max_conns_per_client".to_owned(),
        status if status.is_redirection() => {
            "expected 200: name the agent itself, redirects are not followed".to_owned()
        }
        status if status.is_server_error() => "expected 200: the agent's log says more".to_owned(),
        _ => "expected 200".to_owned(),
    };
    match text.trim() {
        "" => format!("found {status}, {todo}"),
        text => format!("found {status} ({}), {todo}", text.escape_debug()),
    }
}
