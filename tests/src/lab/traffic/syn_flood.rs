//! SYNs of random sources that never answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::keystream::Keystream;
use crate::lab::frames::FrameSocket;
use crate::lab::netns::Netns;
use crate::lab::topology::{Client, FRONT, HOST_DEVICE};

/// Where sources are drawn from, IPv4: shared address space (RFC 6598), four million addresses.
pub const FLOOD_V4_PREFIX: &str = "100.64.0.0/10";
/// Where sources are drawn from, IPv6.
pub const FLOOD_V6_PREFIX: &str = "2001:db8:5eed::/64";

/// Frames that may be sent at once to keep up with the rate.
const AT_ONCE: u64 = 64;

/// How long a full queue is left alone.
const FULL: Duration = Duration::from_micros(300);

/// What to send.
#[derive(Debug, Clone)]
pub struct SynFlood {
    /// Where to; frame *i* goes to target *i* modulo their number. Not empty.
    pub targets: Vec<SocketAddr>,
    /// How many.
    pub count: u64,
    /// How many a second, at most.
    pub rate_per_s: u32,
    /// What the sources are drawn by.
    pub seed: u64,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloodReport {
    /// SYNs sent.
    pub sent: u64,
    /// How many times the device's queue was full, and a SYN was sent anew.
    pub refused: u64,
    /// How long it took.
    pub took: Duration,
}

impl SynFlood {
    /// Sends them from a client to Weir's host, and says now and then how many are sent.
    pub fn run(&self, client: &Client, weir: &Netns, mut progress: impl FnMut(u64)) -> Result<FloodReport> {
        ensure!(self.count <= 10_000_000, "a flood of {} is more than a lab should see", self.count);
        let socket = FrameSocket::open(&client.netns, HOST_DEVICE)?;
        let ethernet = [weir.mac(FRONT)?, client.netns.mac(HOST_DEVICE)?].concat();
        let mut choices = Keystream::new(self.seed);
        let started = Instant::now();
        let mut report = FloodReport { sent: 0, refused: 0, took: Duration::ZERO };
        let mut number = 0;
        while number < self.count {
            let due = u128::from(self.rate_per_s) * started.elapsed().as_nanos() / 1_000_000_000 + 1;
            let due = u64::try_from(due).unwrap_or(u64::MAX).min(self.count).min(number + AT_ONCE);
            while number < due {
                let target = self.targets[usize::try_from(number).unwrap_or(0) % self.targets.len()];
                let frame = syn(&ethernet, target, &mut choices);
                // A device whose queue is full takes it a moment later.
                while socket.send(&frame).is_err() {
                    report.refused += 1;
                    ensure!(report.refused <= 10 * self.count, "the device takes no more frames after {number}");
                    std::thread::sleep(FULL);
                }
                report.sent += 1;
                number += 1;
            }
            progress(number);
            std::thread::sleep(Duration::from_micros(500));
        }
        report.took = started.elapsed();
        Ok(report)
    }
}

/// A SYN from a random source, from its Ethernet header to its last byte.
fn syn(ethernet: &[u8], target: SocketAddr, choices: &mut Keystream) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h] = choices.number().to_be_bytes();
    let source = match target.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(100, 64 | (a & 63), b, c)),
        IpAddr::V6(_) => {
            let [low, high] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x5eed, 0, low, high, u16::from_be_bytes([g, h]), 1))
        }
    };
    // A port that a client may have.
    let port = 1_024 | u16::from_be_bytes([e, f]);
    let tcp = tcp_syn(source, port, target, [a, d, g, h]);
    let (kind, ip) = match (source, target.ip()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => ([0x08, 0x00], ipv4(source, target, tcp.len())),
        (IpAddr::V6(source), IpAddr::V6(target)) => ([0x86, 0xdd], ipv6(source, target, tcp.len())),
        _ => unreachable!("the source is of the target's family"),
    };
    [ethernet, &kind, &ip, &tcp].concat()
}

/// RFC 9293, section 3.1: a header with the option for the maximum segment size.
fn tcp_syn(source: IpAddr, port: u16, target: SocketAddr, sequence: [u8; 4]) -> Vec<u8> {
    let mut tcp = [&port.to_be_bytes()[..], &target.port().to_be_bytes(), &sequence, &[0; 4]].concat();
    tcp.extend([0x60, 0x02, 0xfa, 0xf0, 0, 0, 0, 0, 2, 4, 0x05, 0xb4]);
    let length = u32::try_from(tcp.len()).expect("a short header").to_be_bytes();
    let (from, to) = (octets(source), octets(target.ip()));
    let sum = internet_sum(&[&from, &to, &length, &[0, 0, 0, 6], &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    tcp
}

/// RFC 791, section 3.1.
fn ipv4(source: Ipv4Addr, target: Ipv4Addr, payload: usize) -> Vec<u8> {
    let length = u16::try_from(20 + payload).expect("a short packet").to_be_bytes();
    let mut header =
        [&[0x45, 0], &length[..], &[0, 0, 0x40, 0, 64, 6, 0, 0], &source.octets(), &target.octets()].concat();
    let sum = internet_sum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// RFC 8200, section 3.
fn ipv6(source: Ipv6Addr, target: Ipv6Addr, payload: usize) -> Vec<u8> {
    let length = u16::try_from(payload).expect("a short packet").to_be_bytes();
    [&[0x60, 0, 0, 0], &length[..], &[6, 64], &source.octets(), &target.octets()].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// RFC 1071, over parts of even length.
fn internet_sum(parts: &[&[u8]]) -> u16 {
    let words = parts
        .iter()
        .flat_map(|part| part.chunks_exact(2))
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to sixteen bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_has_right_sums_and_a_source_of_its_own() {
        let mut choices = Keystream::new(1);
        for target in ["203.0.113.10:80", "[2001:db8:f00d::10]:80"] {
            let target: SocketAddr = target.parse().unwrap();
            let frames: Vec<_> = (0..100).map(|_| syn(&[0; 12], target, &mut choices)).collect();
            for frame in &frames {
                let (header, addresses) = if target.is_ipv4() { (20, 26..34) } else { (40, 22..54) };
                if target.is_ipv4() {
                    assert_eq!(internet_sum(&[&frame[14..34]]), 0);
                }
                let tcp = &frame[14 + header..];
                assert_eq!(internet_sum(&[&frame[addresses], &[0, 0, 0, 24, 0, 0, 0, 6], tcp]), 0);
                assert_eq!(tcp.len(), 24);
            }
            let mut sources: Vec<_> = frames.iter().map(|frame| frame[22..42].to_vec()).collect();
            sources.sort();
            sources.dedup();
            assert_eq!(sources.len(), 100);
        }
    }
}
