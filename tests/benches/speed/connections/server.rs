//! The servers behind every balancer: one thread, whatever it listens on.
//!
//! HTTP/1.1, as far as the load generator speaks it: a request for `/close` is answered and the connection closed, one for
//! `/keep` is answered, one for `/bulk` is answered by bytes without an end. Requests come in one piece.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::sockopt::{ReuseAddr, TcpNoDelay};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, bind, listen, recv, send, setsockopt, socket,
};
use weir_tests::lab::Netns;

use super::processor::{self, Processor};

/// How many connections wait to be accepted.
pub(super) const BACKLOG: i32 = 4096;
/// Events that are taken at once.
const EVENTS: usize = 256;
/// How soon it notices that it is to end.
const LOOKS_UP_MS: u16 = 100;
/// What `/bulk` sends at a time.
const CHUNK: usize = 256 * 1024;

/// What is answered to `/close` and `/keep`: 200 bytes in all, so that a request and its answer are a packet each.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 127\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123\
    012345678901234567890123456789012345678901234567890123456789012";
/// The head of what `/bulk` sends.
const BULK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n";

/// Bytes of an answer to `/close` and `/keep`.
pub(super) const ANSWER_LENGTH: usize = ANSWER.len();

/// Sockets of connections block, but nobody waits for them.
const ONE_TRY: MsgFlags = MsgFlags::MSG_NOSIGNAL.union(MsgFlags::MSG_DONTWAIT);

/// `MSG_MORE`, which nix does not name: what follows goes with it.
const MORE: MsgFlags = MsgFlags::from_bits_retain(nix::libc::MSG_MORE);

/// Until it is dropped.
pub(super) struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Servers {
    /// Listens on these addresses, each in a namespace.
    pub(super) fn start(places: &[(Netns, SocketAddrV4)]) -> Result<Self> {
        let listeners = places
            .iter()
            .map(|(netns, address)| netns.run(|| listener(*address)).with_context(|| format!("listening on {address}")))
            .collect::<Result<Vec<_>>>()?;
        let stop = Arc::<AtomicBool>::default();
        let theirs = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("servers".to_owned()).spawn(move || serve(&listeners, &theirs))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => eprintln!("the servers ended early: {error:#}"),
            Some(Err(_)) => eprintln!("the servers ended early, by a panic"),
        }
    }
}

fn listener(address: SocketAddrV4) -> Result<TcpListener> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&listener, ReuseAddr, &true)?;
    // Connections inherit it.
    setsockopt(&listener, TcpNoDelay, &true)?;
    bind(listener.as_raw_fd(), &SockaddrIn::from(address))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener.into())
}

/// A connection that was not closed at once.
struct Connection {
    stream: TcpStream,
    bulk: bool,
}

struct Server {
    epoll: Epoll,
    connections: HashMap<RawFd, Connection>,
    chunk: Vec<u8>,
}

fn serve(listeners: &[TcpListener], stop: &AtomicBool) -> Result<()> {
    processor::stay_on(Processor::Servers)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for listener in listeners {
        epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, name(listener.as_raw_fd())))?;
    }
    let mut server = Server { epoll, connections: HashMap::new(), chunk: vec![b'x'; CHUNK] };
    let mut events = [EpollEvent::empty(); EVENTS];
    while !stop.load(Ordering::Relaxed) {
        let count = match server.epoll.wait(&mut events, LOOKS_UP_MS) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error).context("waiting for events"),
        };
        for event in &events[..count] {
            let fd = RawFd::try_from(event.data()).context("a descriptor is an i32")?;
            match listeners.iter().find(|listener| listener.as_raw_fd() == fd) {
                Some(listener) => server.accept(listener)?,
                None => server.go_on(fd),
            }
        }
    }
    Ok(())
}

fn name(fd: RawFd) -> u64 {
    u64::try_from(fd).expect("an open file's descriptor is not negative")
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // One that its client has given up.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => continue,
                Err(error) => return Err(error).context("accepting a connection"),
            };
            let mut connection = Connection { stream, bulk: false };
            // The request is often there already.
            if self.answer(&mut connection) {
                let fd = connection.stream.as_raw_fd();
                let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
                self.epoll.add(&connection.stream, EpollEvent::new(flags, name(fd)))?;
                self.connections.insert(fd, connection);
            }
        }
    }

    fn go_on(&mut self, fd: RawFd) {
        let Some(mut connection) = self.connections.remove(&fd) else { return };
        if self.answer(&mut connection) {
            self.connections.insert(fd, connection);
        }
    }

    /// Answers what has come; says whether the connection stays.
    fn answer(&mut self, connection: &mut Connection) -> bool {
        let mut request = [0; 1024];
        loop {
            let fd = connection.stream.as_raw_fd();
            if connection.bulk {
                return self.pour(fd);
            }
            let length = match recv(fd, &mut request, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return false,
                Ok(length) => length,
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            };
            match request[..length].get(5) {
                Some(b'k') => {
                    if send(fd, ANSWER, ONE_TRY) != Ok(ANSWER.len()) {
                        return false;
                    }
                    // A shorter read than asked for has taken everything.
                    return true;
                }
                Some(b'b') => {
                    if send(fd, BULK, ONE_TRY) != Ok(BULK.len()) {
                        return false;
                    }
                    connection.bulk = true;
                }
                Some(_) | None => {
                    // The end goes with the answer, in one segment. Whoever has gone meanwhile gets neither.
                    let _sent = send(fd, ANSWER, ONE_TRY | MORE).unwrap_or(0);
                    return false;
                }
            }
        }
    }

    /// Sends as much as there is room for; says whether the connection stays.
    fn pour(&self, fd: RawFd) -> bool {
        loop {
            match send(fd, &self.chunk, ONE_TRY) {
                Ok(_) => {}
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Every address of this host.
pub(super) const fn anywhere(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}
