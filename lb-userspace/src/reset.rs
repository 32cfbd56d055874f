//! TCP resets towards both ends of a connection that is cut off, so that neither waits for the other.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use lb_common::abi::{Flow, FlowFlags, FlowKey};
use lb_common::checksum;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};

use crate::vip::{Protocol, Vip};

/// The flag of a TCP header that says so (RFC 9293 §3.1).
const RST: u8 = 0x04;

/// Bytes of a TCP header without options.
const TCP_LEN: u8 = 20;

/// A reset to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Whom it seems to be from.
    pub from: SocketAddr,
    /// To whom it goes.
    pub to: SocketAddr,
    /// Its sequence number: just the one that the receiver expects, or it is not believed (RFC 5961 §3.2).
    pub sequence: u32,
}

impl Reset {
    /// The two resets for a connection, as far as its numbers are known.
    ///
    /// A service of every port knows the port by the flow, and so does a backend that listens at every one.
    pub fn of(vip: &Vip, mut backend: SocketAddr, key: &FlowKey, flow: &Flow) -> Vec<Self> {
        if vip.protocol != Protocol::Tcp {
            return Vec::new();
        }
        let client = SocketAddr::new(IpAddr::from(key.client), u16::from_be_bytes(key.client_port_bytes()));
        let port = if vip.port == 0 { u16::from_be(key.port) } else { vip.port };
        if backend.port() == 0 {
            backend.set_port(port);
        }
        let vip = SocketAddr::new(vip.address, port);
        let to_backend = Self { from: client, to: backend, sequence: flow.client_next };
        // A SYN acknowledges nothing: only from then on is it known what the client expects.
        let to_client = Self { from: vip, to: client, sequence: flow.client_expects };
        if flow.client & FlowFlags::SPOKE != 0 { vec![to_client, to_backend] } else { vec![to_backend] }
    }

    /// The packet, from its IP header on.
    fn packet(&self) -> Vec<u8> {
        let (from, to) = (self.from, self.to);
        let mut tcp = [0; TCP_LEN as usize];
        tcp[..2].copy_from_slice(&from.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        (tcp[12], tcp[13]) = (0x50, RST);
        let addresses = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
            (from, to) => [octets6(from), octets6(to)].concat(),
        };
        // RFC 9293 §3.1 and RFC 8200 §8.1: the words' order does not matter to the sum.
        let sum = checksum::full(&[&addresses, &[0, lb_common::parse::TCP, 0, TCP_LEN], &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_ne_bytes());
        let mut packet = if to.is_ipv4() {
            // The kernel fills in the identification and the checksum (raw(7)).
            vec![0x45, 0, 0, 20 + TCP_LEN, 0, 0, 0x40, 0, 64, lb_common::parse::TCP, 0, 0]
        } else {
            vec![0x60, 0, 0, 0, 0, TCP_LEN, lb_common::parse::TCP, 64]
        };
        packet.extend(addresses);
        packet.extend(tcp);
        packet
    }
}

fn octets6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Sends resets by the host's own routes, through raw sockets that are opened when they are needed first.
#[derive(Debug, Default)]
pub struct Resetter {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl Resetter {
    /// Sends them. One that cannot be sent is said and not tried again: its connection ends when either side speaks.
    pub fn send(&mut self, resets: Vec<Reset>) {
        let (mut sent, mut failed) = (0_u32, None);
        for reset in resets {
            match self.send_one(&reset) {
                Ok(()) => sent += 1,
                Err(error) => failed = Some(error),
            }
        }
        if sent > 0 {
            tracing::info!(sent, "resets for connections that were cut off");
        }
        if let Some(error) = failed {
            tracing::warn!(error = format!("{error:#}"), "some resets could not be sent");
        }
    }

    fn send_one(&mut self, reset: &Reset) -> Result<()> {
        let packet = reset.packet();
        // The destination is in the packet's header; a port has no meaning here.
        match reset.to.ip() {
            IpAddr::V4(to) => {
                let socket = open(&mut self.v4, AddressFamily::Inet)?;
                let to = SockaddrIn::from(std::net::SocketAddrV4::new(to, 0));
                sendto(socket, &packet, &to, MsgFlags::MSG_DONTWAIT)
            }
            IpAddr::V6(to) => {
                let socket = open(&mut self.v6, AddressFamily::Inet6)?;
                let to = SockaddrIn6::from(std::net::SocketAddrV6::new(to, 0, 0, 0));
                sendto(socket, &packet, &to, MsgFlags::MSG_DONTWAIT)
            }
        }
        .with_context(|| format!("sending a reset to {}", reset.to))?;
        Ok(())
    }
}

/// A raw socket whose packets come with their IP header (`IPPROTO_RAW`, raw(7) and ipv6(7)).
fn open(place: &mut Option<OwnedFd>, family: AddressFamily) -> Result<RawFd> {
    let opened = match place.take() {
        Some(opened) => opened,
        None => socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)
            .context("opening a raw socket, for which Weir needs CAP_NET_RAW")?,
    };
    Ok(place.insert(opened).as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_sums_to_nothing() {
        for (from, to) in [("203.0.113.10:80", "198.51.100.7:40000"), ("[2001:db8::10]:80", "[2001:db8:1::7]:40001")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let packet = Reset { from, to, sequence: 0x0102_0304 }.packet();
            let tcp = &packet[packet.len() - usize::from(TCP_LEN)..];
            assert_eq!(tcp[4..8], [1, 2, 3, 4]);
            let addresses = if from.is_ipv4() { &packet[12..20] } else { &packet[8..40] };
            assert_eq!(checksum::full(&[addresses, &[0, 6, 0, 20], tcp]), 0);
            assert_eq!(packet.len(), if from.is_ipv4() { 40 } else { 60 });
        }
    }
}
