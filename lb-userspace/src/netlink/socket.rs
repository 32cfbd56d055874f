//! Netlink sockets: one kind asks, the other listens.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use netlink_packet_core::NLM_F_DUMP_INTR;
use netlink_sys::{Socket, SocketAddr};

use super::message::{Content, Message, Request, messages};

/// The largest datagram the kernel builds is 32 KiB (netlink_dump, linux 4.9 and later).
const DATAGRAM_MAX: usize = 64 * 1024;

/// Requests sent at once. Each answer takes up to a page of the receive buffer, whose default is 208 KiB: more at
/// once and the kernel drops answers.
const BATCH: usize = 16;

/// How often a dump that was interrupted by a change is begun again.
const DUMP_ATTEMPTS: usize = 4;

/// `MSG_TRUNC` (linux/socket.h): receive says how long the datagram was, not how much of it fitted.
const MSG_TRUNC: i32 = 0x20;

/// `ENOBUFS` (asm-generic/errno.h): the receive buffer was full and messages were lost.
const ENOBUFS: i32 = 105;

/// What the kernel answered to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A message of the family, from the family's own header on.
    Message(Vec<u8>),
    /// Done, nothing to say.
    Acknowledged,
    /// Refused, with an error number.
    Refused(i32),
}

/// A socket that asks.
///
/// The kernel handles a request, and a dump piece by piece, inside the system call that sends or receives: when that
/// returns the answer is there. So nothing ever waits for one, and an answer that is missing is an error.
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
    sent: Arc<AtomicU64>,
    datagram: Vec<u8>,
}

impl Requests {
    /// Opens one in the calling thread's network namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0, sent: Arc::default(), datagram: Vec::with_capacity(DATAGRAM_MAX) })
    }

    /// Counts the requests that are sent, also by others, in `sent`.
    pub(crate) fn counted(mut self, sent: Arc<AtomicU64>) -> Self {
        self.sent = sent;
        self
    }

    /// Asks each question and returns the answers in the questions' order.
    ///
    /// # Errors
    /// When the socket fails or an answer is missing; a refusal by the kernel is an answer.
    pub(crate) fn ask(&mut self, requests: &[Request]) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            self.ask_batch(batch, &mut answers)?;
        }
        Ok(answers)
    }

    /// Asks one question.
    pub(crate) fn ask_one(&mut self, request: Request) -> io::Result<Answer> {
        self.ask(&[request])?.pop().ok_or_else(unanswered)
    }

    fn ask_batch(&mut self, batch: &[Request], answers: &mut Vec<Answer>) -> io::Result<()> {
        let first = self.send(batch)?;
        let mut open = batch.len();
        let mut got: Vec<Option<Answer>> = vec![None; open];
        while open > 0 {
            receive(&self.socket, &mut self.datagram)?;
            for Message { sequence, content, .. } in messages(&self.datagram) {
                // Answers to an exchange that failed earlier have other numbers and fall out here.
                let slot = usize::try_from(sequence.wrapping_sub(first)).ok().and_then(|index| got.get_mut(index));
                let Some(slot @ None) = slot else { continue };
                *slot = Some(match content {
                    Content::Error(0) | Content::Done(_) => Answer::Acknowledged,
                    Content::Error(number) => Answer::Refused(number),
                    Content::Family(_, payload) => Answer::Message(payload.to_vec()),
                });
                open -= 1;
            }
        }
        answers.extend(got.into_iter().flatten());
        Ok(())
    }

    /// Asks for all there is: the messages, from the family's own header on.
    ///
    /// # Errors
    /// When the socket fails, the kernel refuses, or the list changes faster than it can be read.
    pub(crate) fn dump(&mut self, request: &Request) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(all) = self.dump_once(request)? {
                return Ok(all);
            }
        }
        Err(io::Error::other("the kernel's list changed while it was read, each time it was tried"))
    }

    fn dump_once(&mut self, request: &Request) -> io::Result<Option<Vec<Vec<u8>>>> {
        let first = self.send(std::slice::from_ref(request))?;
        let mut all = Vec::new();
        let mut whole = true;
        loop {
            receive(&self.socket, &mut self.datagram)?;
            for Message { sequence, flags, content } in messages(&self.datagram) {
                if sequence != first {
                    continue;
                }
                whole &= flags & NLM_F_DUMP_INTR == 0;
                match content {
                    Content::Done(0) => return Ok(whole.then_some(all)),
                    Content::Done(number) | Content::Error(number) => return Err(io::Error::from_raw_os_error(number)),
                    Content::Family(_, payload) => all.push(payload.to_vec()),
                }
            }
        }
    }

    /// Sends a batch as one datagram and returns the first one's number.
    fn send(&mut self, batch: &[Request]) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        self.datagram.clear();
        for request in batch {
            self.sequence = self.sequence.wrapping_add(1);
            request.emit(self.sequence, &mut self.datagram);
        }
        self.sent.fetch_add(u64::try_from(batch.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let length = self.socket.send_to(&self.datagram, &SocketAddr::new(0, 0), 0)?;
        if length == self.datagram.len() { Ok(first) } else { Err(io::Error::other("netlink took half a request")) }
    }
}

/// A socket that listens to multicast groups. Register it with the runtime through its descriptor.
pub(crate) struct Events {
    socket: Socket,
    datagram: Vec<u8>,
}

/// What a look at the groups brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A datagram, which was handed over message by message.
    Datagram,
    /// The kernel lost messages because nobody read them in time: what was known has to be asked anew.
    Overrun,
    /// Nothing more for now.
    Nothing,
}

impl Events {
    /// Opens one in the calling thread's network namespace.
    pub(crate) fn open(protocol: isize, groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // A larger buffer makes overruns rarer; the kernel silently gives what net.core.rmem_max allows.
        socket.set_rx_buf_sz(1_i32 << 20)?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM_MAX) })
    }

    /// Reads a datagram if there is one and calls `each` with the type and bytes of each of its messages.
    pub(crate) fn hear(&mut self, mut each: impl FnMut(u16, &[u8])) -> io::Result<Heard> {
        match receive(&self.socket, &mut self.datagram) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => return Ok(Heard::Overrun),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Heard::Nothing),
            Err(error) => return Err(error),
        }
        for message in messages(&self.datagram) {
            if let Content::Family(kind, payload) = message.content {
                each(kind, payload);
            }
        }
        Ok(Heard::Datagram)
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Reads a datagram of the kernel's.
fn receive(socket: &Socket, datagram: &mut Vec<u8>) -> io::Result<()> {
    loop {
        datagram.clear();
        match socket.recv_from(datagram, MSG_TRUNC) {
            // Port 0 is the kernel. Other processes with CAP_NET_ADMIN can send to this socket too.
            Ok((_, from)) if from.port_number() != 0 => {}
            Ok((length, _)) if length > datagram.len() => {
                return Err(io::Error::other(format!("a netlink datagram of {length} bytes was cut short")));
            }
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(unanswered()),
            Err(error) => return Err(error),
        }
    }
}

fn unanswered() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the kernel left a netlink request unanswered")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{AF_INET, ROUTE};

    const RTM_NEWADDR: u16 = 20;
    const RTM_DELADDR: u16 = 21;
    const IFA_LOCAL: u16 = 2;
    const IPV4_IFADDR: u32 = 5;

    /// An address for the loopback device.
    fn address(kind: u16, n: u32) -> Request {
        Request::create(kind, &[AF_INET, 32, 0, 0, 1, 0, 0, 0]).attribute(IFA_LOCAL, &(0x0a00_0001 + n).to_be_bytes())
    }

    /// Runs code in a network namespace that ends with it. Needs root.
    fn apart<T: Send>(code: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace, as root");
                code()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    #[test]
    fn answers_are_in_the_questions_order() {
        let answers = apart(|| {
            let mut requests = Requests::open(ROUTE).unwrap();
            // More than one batch, some of them refused.
            let questions: Vec<_> =
                (0..100).map(|n| address(if n % 3 == 0 { RTM_NEWADDR } else { RTM_DELADDR }, n)).collect();
            requests.ask(&questions).unwrap()
        });
        assert_eq!(answers.len(), 100);
        for (n, answer) in answers.iter().enumerate() {
            const EADDRNOTAVAIL: i32 = 99;
            let expected = if n % 3 == 0 { Answer::Acknowledged } else { Answer::Refused(EADDRNOTAVAIL) };
            assert_eq!(*answer, expected, "{n}");
        }
    }

    #[test]
    fn a_listener_that_is_late_learns_so_and_goes_on() {
        apart(|| {
            let mut events = Events::open(ROUTE, &[IPV4_IFADDR]).unwrap();
            events.socket.set_rx_buf_sz(4096_i32).unwrap();
            let mut requests = Requests::open(ROUTE).unwrap();
            let all = |events: &mut Events| {
                let (mut seen, mut lost) = (0, false);
                loop {
                    match events.hear(|kind, _| seen += u32::from(kind == RTM_NEWADDR)).unwrap() {
                        Heard::Datagram => {}
                        Heard::Overrun => lost = true,
                        Heard::Nothing => return (seen, lost),
                    }
                }
            };
            requests.ask(&[address(RTM_NEWADDR, 0)]).unwrap();
            assert_eq!(all(&mut events), (1, false));
            requests.ask(&(1..200).map(|n| address(RTM_NEWADDR, n)).collect::<Vec<_>>()).unwrap();
            let (seen, lost) = all(&mut events);
            assert!(lost && seen < 199, "{seen} seen");
            requests.ask(&[address(RTM_NEWADDR, 200)]).unwrap();
            assert_eq!(all(&mut events), (1, false));
        });
    }
}
