//! One HTTP/1.1 request on one new TCP connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

use super::http_server::NAME_HEADER;
use super::netns::Netns;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Who answered: the header [`NAME_HEADER`], empty where there is none.
    pub backend: String,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request from a namespace on a TCP connection of its own, within a deadline.
pub fn request(
    netns: &Netns,
    method: Method,
    server: SocketAddr,
    path: &str,
    body: impl Into<Bytes>,
    deadline: Duration,
) -> Result<Answer> {
    let body = body.into();
    let shown = format!("{method} http://{server}{path}");
    netns
        .block_on(|| async {
            match tokio::time::timeout(deadline, ask(method, server, path, body, None)).await {
                Ok(answer) => answer,
                Err(_) => bail!("no answer within {} s", deadline.as_secs_f64()),
            }
        })
        .with_context(|| shown)
}

/// Connects, asks, reads the whole answer and waits for the server to close. The server closes first, so it is the
/// server that keeps TIME_WAIT and the client's port is free at once.
pub(crate) async fn ask(
    method: Method,
    server: SocketAddr,
    path: &str,
    body: Bytes,
    source_port: Option<u16>,
) -> Result<Answer> {
    let stream = connect(server, source_port).await.context("cannot connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let uri: Uri = path.parse().with_context(|| format!("{path:?} is not a path"))?;
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(hyper::header::HOST, server.to_string())
        .header(hyper::header::CONNECTION, "close")
        .body(Full::new(body))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let backend = response.headers().get(NAME_HEADER).and_then(|name| name.to_str().ok()).unwrap_or_default();
        let backend = backend.to_owned();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Answer { status, backend, body })
    };
    let (answer, connection) = tokio::join!(exchange, connection.without_shutdown());
    let answer = answer.context("no answer")?;
    let stream = connection.context("the connection broke after the answer")?.io.into_inner();
    let more = read_one(&stream).await.context("the connection broke after the answer")?;
    anyhow::ensure!(more == 0, "the server went on after it had said that it would close");
    Ok(answer)
}

async fn read_one(stream: &TcpStream) -> std::io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

async fn connect(server: SocketAddr, source_port: Option<u16>) -> std::io::Result<TcpStream> {
    let (socket, any) = match server {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, SocketAddr::from(([0; 4], 0))),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, SocketAddr::from(([0; 16], 0))),
    };
    if let Some(port) = source_port {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(any.ip(), port))?;
    }
    socket.connect(server).await
}
