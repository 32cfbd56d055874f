//! Datagrams that come in fragments.

use crate::Address;

/// What the fragments of one datagram have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FragmentKey {
    /// Where it comes from.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// Its identification, as its bytes on the wire; two of them for IPv4.
    pub id: u32,
    /// The protocol of its payload for IPv4; 0 for IPv6, whose fragments are known by the other three alone.
    pub protocol: u32,
}

/// Words of 64 blocks of eight bytes each that a datagram may have.
pub const FRAGMENT_WORDS: usize = 128;

/// What is remembered of a datagram: where its first fragment went, and which parts of it have come.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragments {
    /// One bit for each block of eight bytes that has come.
    pub seen: [u64; FRAGMENT_WORDS],
    /// Where it goes.
    pub datagram: Datagram,
}

/// Where a datagram goes, all of its fragments alike.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Datagram {
    /// [`FragmentFate`].
    pub fate: u32,
    /// The service.
    pub service: u32,
    /// The backend's id.
    pub backend: u32,
    /// The identification that it leaves with, as its bytes on the wire.
    pub id: u32,
    /// When the first fragment came, in seconds of the kernel's monotonic clock.
    pub began_s: u32,
    /// Where the datagram ends, in bytes, once its last fragment has come; 0 before.
    pub end: u32,
    /// How many bytes of it have come.
    pub got: u64,
    /// Where it comes from, when it leaves: the client, the VIP, or the address that flows to backends leave from.
    pub source: Address,
    /// Where it goes, when it leaves.
    pub destination: Address,
}

/// Values of [`Datagram::fate`].
pub struct FragmentFate;

impl FragmentFate {
    /// A stranger's: all of it passes as it came.
    pub const PASS: u32 = 0;
    /// From a client, to the backend.
    pub const REQUEST: u32 = 1;
    /// From a backend, to the client.
    pub const REPLY: u32 = 2;
    /// Parts of it overlapped: no more of it is forwarded (RFC 5722 §4).
    pub const REFUSED: u32 = 3;
}

impl Fragments {
    /// How long the fragments of a datagram are waited for, in seconds (RFC 8200 §4.5 allows 60; Linux waits for 30,
    /// ipfrag_time, and who waits longer meets the next datagram with the same identification).
    pub const TIMEOUT_S: u32 = 30;

    /// A first fragment that comes so many seconds after another with the same identification is another datagram's.
    pub const REUSE_S: u32 = 2;
}

const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<Fragments>() == 1024 + 64);
