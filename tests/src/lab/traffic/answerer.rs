//! A backend that answers so that the other end can tell who answered, and that not a byte is wrong.
//!
//! TCP: the first byte says how the connection goes on, [`LONG`] or [`SHORT`]. The server answers it with the length
//! of its name and its name, and every byte after it with that byte under the keystream of its name. After [`SHORT`] it
//! closes once [`SHORT_ASK`] bytes are answered: who closes first keeps TIME_WAIT, and the client's ports stay free.
//!
//! UDP: a datagram comes back with the server's name in front, as above, and a sum over both behind.

use std::cell::RefCell;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::keystream::{Keystream, sum};
use super::priority;
use crate::lab::netns::{Netns, Task};

/// Where answerers listen, TCP and UDP.
pub const ANSWER_PORT: u16 = 7000;

/// A connection that goes on until the client ends it.
pub(super) const LONG: u8 = b'L';
/// A connection for one question.
pub(super) const SHORT: u8 = b'S';
/// Bytes of the one question.
pub(super) const SHORT_ASK: usize = 32;
/// The first byte of a datagram of a [`super::UdpStream`], which are counted.
pub(super) const STREAMED: u8 = b'+';

/// Room for what arrives while the servers' thread does not run: a second of 10,000 datagrams, each of which the kernel
/// counts as up to a page.
const UDP_ROOM: usize = 64 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A server that runs until it is dropped; dropped, it takes its connections with it, as a process that is killed.
#[derive(Debug)]
pub struct Answerer {
    streamed: Arc<AtomicU64>,
    _task: Task,
}

impl Answerer {
    /// Starts it; when this returns it listens.
    pub fn start(netns: &Netns, name: &str) -> Result<Self> {
        let udp = netns.run(bind_udp).with_context(|| format!("in {}", netns.name()))?;
        let (tell, told) = std::sync::mpsc::channel();
        let streamed = Arc::<AtomicU64>::default();
        let (theirs, name) = (Arc::clone(&streamed), name.to_owned());
        let task = netns.spawn(&format!("answer {name}"), move || async move {
            priority::raise();
            let listener = listen();
            let failed = listener.is_err();
            let (listener, error) = match listener {
                Ok(listener) => (Some(listener), None),
                Err(error) => (None, Some(error)),
            };
            // Nobody is left to tell when the start was given up.
            drop(tell.send(error));
            if let (false, Some(listener)) = (failed, listener) {
                tokio::join!(accept(listener, name.clone()), answer(udp, name, theirs));
            }
        });
        match told.recv().context("the server's thread ended")? {
            None => Ok(Self { streamed, _task: task }),
            Some(error) => Err(error).with_context(|| format!("in {}", netns.name())),
        }
    }

    /// How many datagrams of a stream have arrived here.
    pub fn streamed(&self) -> u64 {
        self.streamed.load(Ordering::Relaxed)
    }
}

/// One socket for both families: Linux's default (RFC 3493, section 5.3).
fn any() -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, ANSWER_PORT).into()
}

fn listen() -> Result<TcpListener> {
    let open = || {
        let socket = tokio::net::TcpSocket::new_v6()?;
        // Connections of one that was killed may linger.
        socket.set_reuseaddr(true)?;
        socket.bind(any())?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| format!("cannot listen on TCP {}", any()))
}

fn bind_udp() -> Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(any()).with_context(|| format!("cannot listen on UDP {}", any()))?;
    setsockopt(&socket, sockopt::RcvBufForce, &UDP_ROOM).context("cannot give a UDP socket room")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, name: String) {
    let name: Rc<str> = name.into();
    loop {
        // A client that gave up between SYN and accept is no concern of the server's.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let name = Rc::clone(&name);
        tokio::task::spawn_local(async move {
            // A connection that broke is counted by the client that it broke for.
            drop(serve(stream, &name).await);
        });
    }
}

async fn serve(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let kind = stream.read_u8().await?;
    let mut answer = greeting(name);
    let mut keys = Keystream::new(key_of(name));
    let mut left = if kind == SHORT { SHORT_ASK } else { usize::MAX };
    while left > 0 {
        let length = read(&stream).await?;
        let Some(bytes) = length else { break };
        let from = answer.len();
        answer.extend_from_slice(&bytes);
        keys.apply(&mut answer[from..]);
        left = left.saturating_sub(bytes.len());
        stream.write_all(&answer).await?;
        answer.clear();
    }
    stream.shutdown().await
}

thread_local! {
    /// One for all connections of a thread: thousands of them would fill the processor's cache.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 16 << 10]);
}

/// What can be read, when something can be; `None` at the end.
async fn read(stream: &TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    loop {
        stream.readable().await?;
        let read = BUFFER.with_borrow_mut(|buffer| stream.try_read(buffer).map(|length| buffer[..length].to_vec()));
        match read {
            Ok(bytes) => return Ok((!bytes.is_empty()).then_some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn answer(socket: std::net::UdpSocket, name: String, streamed: Arc<AtomicU64>) {
    let socket = UdpSocket::from_std(socket).expect("a socket that does not block");
    let greeting = greeting(&name);
    let mut buffer = vec![0; 65_536];
    let prefix = greeting.len();
    buffer[..prefix].copy_from_slice(&greeting);
    loop {
        let room = buffer.len() - size_of::<u64>();
        // An ICMP error about an earlier answer is reported here; the next datagram is as good as any.
        let Ok((length, from)) = socket.recv_from(&mut buffer[prefix..room]).await else { continue };
        if buffer[prefix] == STREAMED {
            streamed.fetch_add(1, Ordering::Relaxed);
        }
        let end = prefix + length;
        let sum = sum(&[&buffer[..end]]).to_be_bytes();
        buffer[end..end + sum.len()].copy_from_slice(&sum);
        // A client that is gone gets none and counts it as lost.
        drop(socket.send_to(&buffer[..end + sum.len()], from).await);
    }
}

/// What an answer begins with.
fn greeting(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("a backend's name is short");
    [&[length], name.as_bytes()].concat()
}

/// The key of a backend's answers.
pub(super) fn key_of(name: &str) -> u64 {
    sum(&[name.as_bytes()])
}

/// Takes an answer to a datagram apart: who answered, and what it was asked.
///
/// # Errors
/// When it is not as an answerer makes it.
pub(super) fn take_apart(answer: &[u8]) -> Result<(&str, &[u8]), String> {
    let (said, end) = answer.split_last_chunk::<8>().ok_or_else(|| format!("{} bytes", answer.len()))?;
    let expected = sum(&[said]);
    if u64::from_be_bytes(*end) != expected {
        return Err(format!("a sum of {:016x} where {expected:016x} had to be", u64::from_be_bytes(*end)));
    }
    let (length, rest) = said.split_first().ok_or("an empty answer")?;
    let (name, asked) = rest.split_at_checked(usize::from(*length)).ok_or("a name that does not end")?;
    Ok((std::str::from_utf8(name).map_err(|_| "a name that is no text")?, asked))
}
