//! A real HTTP/1.1 server that says which backend it is.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::netns::{Netns, Task};

/// Where backends serve HTTP.
pub const HTTP_PORT: u16 = 8080;

/// The header that says who answers.
pub(super) const NAME_HEADER: &str = "x-backend";

/// An HTTP/1.1 server on IPv4 and IPv6. Whatever is asked of it, it answers 200, with its name in the header `x-backend`.
/// A POST gets its own body back, anything else the name. It runs until it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    counts: Arc<Counts>,
    _task: Task,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl HttpServer {
    /// Starts it; when this returns it listens.
    pub fn start(netns: &Netns, name: &str, port: u16) -> Result<Self> {
        let listener = listen(netns, port)?;
        let counts = Arc::<Counts>::default();
        let (theirs, name) = (Arc::clone(&counts), name.to_owned());
        let task = netns.spawn(&format!("http {name}"), move || accept(listener, name, theirs));
        Ok(Self { counts, _task: task })
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Serves on this thread, in the namespace it is in, for ever: for a server that is a process of its own.
    pub fn serve_forever(name: &str, port: u16) -> Result<()> {
        let listener = bind(port)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio::task::LocalSet::new().block_on(&runtime, accept(listener, name.to_owned(), Arc::default()));
        Ok(())
    }
}

fn listen(netns: &Netns, port: u16) -> Result<std::net::TcpListener> {
    netns.run(|| bind(port)).with_context(|| format!("in {}", netns.name()))
}

/// One socket for both families: Linux's default (RFC 3493, section 5.3).
fn bind(port: u16) -> Result<std::net::TcpListener> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.with_context(|| format!("cannot listen on TCP {address}"))
}

async fn accept(listener: std::net::TcpListener, name: String, counts: Arc<Counts>) {
    let listener = TcpListener::from_std(listener).expect("a listening socket that does not block");
    let name: Bytes = name.into();
    loop {
        // A client that gave up between SYN and accept is no concern of the server's.
        let Ok((stream, _)) = listener.accept().await else { continue };
        counts.connections.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_local(serve(stream, name.clone(), Arc::clone(&counts)));
    }
}

async fn serve(stream: TcpStream, name: Bytes, counts: Arc<Counts>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        let name = name.clone();
        async move {
            let response = Response::builder().header(NAME_HEADER, &name[..]);
            let body = if request.method() == Method::POST { request.collect().await?.to_bytes() } else { name };
            Ok::<_, hyper::Error>(response.body(Full::new(body)).expect("a backend's name is a header value"))
        }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    // A connection that broke is counted by the client that it broke for.
    drop(served);
}
