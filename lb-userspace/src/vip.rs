//! What a service listens on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use lb_common::parse::{SCTP, TCP, UDP};
use serde::{Deserialize, Serialize};

/// A transport protocol that a service can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Protocol {
    /// The name used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl Protocol {
    /// The protocol with this IANA number.
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            TCP => Some(Self::Tcp),
            UDP => Some(Self::Udp),
            SCTP => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A virtual service address: where clients connect, and what no other service may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    /// The address clients send to. Never an IPv4-mapped IPv6 address.
    pub address: IpAddr,
    /// The port clients send to; 0 is every port that no other service has.
    pub port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl FromStr for Vip {
    type Err = ();

    /// Reads what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (socket, protocol) = text.rsplit_once('/').ok_or(())?;
        let socket: SocketAddr = socket.parse().map_err(|_| ())?;
        let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|one| one.name() == protocol);
        Ok(Self { address: socket.ip(), port: socket.port(), protocol: protocol.ok_or(())? })
    }
}

impl fmt::Display for Vip {
    /// `192.0.2.10:80/tcp`, `[2001:db8::10]:80/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}
