//! Many sources behind one client, each at a rate of its own, and what each of them is answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::priority;
use crate::lab::netns::Netns;
use crate::lab::topology::HOST_DEVICE;

/// How often datagrams that are due are sent.
const TICK: Duration = Duration::from_millis(1);
/// In how many ticks answers are read once.
const READS: u32 = 10;
/// How many are sent in a tick, at most, when one was late: a veth's queue has 256 places.
const AT_ONCE: usize = 64;
/// How long after the last datagram an answer may still come.
const LINGER: Duration = Duration::from_millis(300);
/// Bytes of a datagram.
const LENGTH: usize = 64;
/// Room for answers while the thread does not run, of each source.
const ROOM: usize = 4 << 20;
/// The most sources: the addresses between the lab's clients' and the end of their prefix.
const MOST: usize = 128;

/// What one source sent, and what it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Member {
    /// Datagrams sent.
    pub sent: u64,
    /// Answers.
    pub answered: u64,
}

/// Sources with addresses of their own.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<(UdpSocket, u32)>,
}

impl Crowd {
    /// Gives a client as many more addresses as there are rates, in datagrams a second. At most one crowd of a family a lab.
    pub fn gather(client: &Netns, target: SocketAddr, rates: &[u32]) -> Result<Self> {
        ensure!(rates.len() <= MOST, "a crowd of {} is too large: there is room for {MOST}", rates.len());
        let address = |number: usize| -> IpAddr {
            let last = u8::try_from(120 + number).unwrap_or(u8::MAX);
            match target {
                SocketAddr::V4(_) => Ipv4Addr::new(198, 51, 100, last).into(),
                SocketAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 1, last.into()).into(),
            }
        };
        let length = if target.is_ipv4() { 24 } else { 64 };
        let addresses: Vec<IpAddr> = (0..rates.len()).map(address).collect();
        let lines = addresses.iter().fold(String::new(), |lines, address| {
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            lines + &format!("addr add {address}/{length} dev {HOST_DEVICE}{nodad}\n")
        });
        client.ip_batch(&lines)?;
        let open = |address: &IpAddr| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((*address, 0)).with_context(|| format!("cannot send from {address}"))?;
            setsockopt(&socket, sockopt::RcvBufForce, &ROOM).context("cannot give a UDP socket room")?;
            socket.connect(target).with_context(|| format!("no route to {target}"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = client.run(|| addresses.iter().map(open).collect::<Result<Vec<_>>>())?;
        Ok(Self { members: sockets.into_iter().zip(rates.iter().copied()).collect() })
    }

    /// Everybody sends for so long, evenly; what became of it, in the order of the rates.
    pub fn press(&self, duration: Duration) -> Result<Vec<Member>> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("crowd".to_owned()).spawn_scoped(scope, || {
                priority::raise();
                self.send(duration)
            })?;
            Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn send(&self, duration: Duration) -> Vec<Member> {
        let mut report = vec![Member::default(); self.members.len()];
        let started = Instant::now();
        let mut tick = started;
        let (mut first, mut ticks) = (0, 0_u32);
        while started.elapsed() < duration {
            let elapsed = started.elapsed();
            let mut left = AT_ONCE;
            // Whose turn it is first changes: those at the end do not always come after the others.
            for number in (0..self.members.len()).map(|number| (first + number) % self.members.len()) {
                let (socket, rate) = &self.members[number];
                // They begin one after the other, so that equal ones do not send at the same moments.
                let phase = Duration::from_secs(1).mul_f64(fraction(number) / f64::from((*rate).max(1)));
                let due = f64::from(*rate) * elapsed.saturating_sub(phase).as_secs_f64();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
                let due = due as u64;
                while report[number].sent < due && left > 0 {
                    left -= 1;
                    if socket.send(&[b'.'; LENGTH]).is_ok() {
                        report[number].sent += 1;
                    }
                }
            }
            first = (first + 37) % self.members.len().max(1);
            ticks += 1;
            if ticks.is_multiple_of(READS) {
                self.read(&mut report);
            }
            tick += TICK;
            std::thread::sleep(tick.saturating_duration_since(Instant::now()));
        }
        let ended = Instant::now();
        while ended.elapsed() < LINGER {
            self.read(&mut report);
            std::thread::sleep(TICK);
        }
        report
    }

    fn read(&self, report: &mut [Member]) {
        let mut buffer = [0; 512];
        for ((socket, _), member) in self.members.iter().zip(report) {
            while socket.recv(&mut buffer).is_ok() {
                member.answered += 1;
            }
        }
    }
}

/// Spreads numbers over 0 to 1: multiples of the golden ratio.
fn fraction(number: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let number = number as f64;
    (number * 0.618_033_988_75).fract()
}
