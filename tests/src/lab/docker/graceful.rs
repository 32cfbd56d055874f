//! An HTTP server that leaves as a good one does: after SIGTERM it goes on for a while, so that whoever sends it
//! requests learns of it, then takes no more connections, finishes those that are open, and ends.

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::lab::http_server::NAME_HEADER;

/// How long open connections have to end.
const FINISHES_WITHIN: Duration = Duration::from_secs(8);

/// What one write of a large answer has at most.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// Serves on every address of both families until SIGTERM and the end that follows. `GET /bytes/N` gets N bytes of
/// zeros, a POST its own body, anything else the name, which is also in the header `x-backend`.
pub(super) async fn serve(name: String, port: u16, linger: Duration) -> Result<()> {
    // Before it listens: from then on it has to leave well.
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on TCP {address}"))?;
    let (close, closing) = watch::channel(());
    let mut connections = JoinSet::new();
    let name = Bytes::from(name);
    let leaves = async {
        terminated.recv().await;
        tokio::time::sleep(linger).await;
    };
    tokio::pin!(leaves);
    loop {
        tokio::select! {
            () = &mut leaves => break,
            accepted = listener.accept() => {
                // A client that gave up between SYN and accept is no concern of the server's.
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn_local(converse(stream, name.clone(), closing.clone()));
            }
            // Those that ended.
            Some(_) = connections.join_next() => {}
        }
    }
    drop((listener, close));
    let finish = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(FINISHES_WITHIN, finish).await.context("connections are still open")
}

/// One connection, until its client or `closing`'s sender ends it.
async fn converse(stream: TcpStream, name: Bytes, mut closing: watch::Receiver<()>) {
    let answer = service_fn(move |request: Request<Incoming>| respond(request, name.clone()));
    let mut connection =
        std::pin::pin!(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    // A connection that broke is counted by the client that it broke for.
    tokio::select! {
        ended = connection.as_mut() => drop(ended),
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}

async fn respond(
    request: Request<Incoming>,
    name: Bytes,
) -> Result<Response<Either<Full<Bytes>, Zeros>>, hyper::Error> {
    let response = Response::builder().header(NAME_HEADER, &name[..]);
    let asked = request.uri().path().strip_prefix("/bytes/").and_then(|number| number.parse().ok());
    let body = match (request.method() == Method::POST, asked) {
        (true, _) => Either::Left(Full::new(request.collect().await?.to_bytes())),
        (false, Some(left)) => Either::Right(Zeros { left }),
        (false, None) => Either::Left(Full::new(name)),
    };
    Ok(response.body(body).expect("a host's name is a header value"))
}

/// A body of so many zeros.
struct Zeros {
    left: u64,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(ZEROS.len());
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS[..length])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
