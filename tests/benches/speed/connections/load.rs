//! What clients do, and what comes of it.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::Result;
use weir_tests::lab::Netns;
use weir_tests::lab::traffic::Histogram;

use super::clients::Clients;
use super::processor::{self, Processor};

/// What one connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// One request, whose answer the server ends by closing.
    Short,
    /// Many requests.
    Long,
    /// Bytes without an end.
    Bulk,
}

impl Life {
    /// What is asked.
    pub(super) const fn request(self) -> &'static [u8] {
        match self {
            Self::Short => b"GET /close HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
            Self::Long => b"GET /keep HTTP/1.1\r\nHost: bench\r\n\r\n",
            Self::Bulk => b"GET /bulk HTTP/1.1\r\nHost: bench\r\n\r\n",
        }
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Where to; connections take turns. Not empty.
    pub targets: Vec<SocketAddrV4>,
    /// What each connection is for.
    pub life: Life,
    /// How many connections at once; with a rate only those that are long.
    pub connections: usize,
    /// Requests a second. Without one each connection asks as soon as it has been answered.
    pub rate: Option<f64>,
    /// For how long.
    pub lasts: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// Requests that were answered.
    pub answered: u64,
    /// Those that were not.
    pub failed: u64,
    /// Bytes that came.
    pub bytes: u64,
    /// From when each request was due until all of its answer was there; of a short one until the connection was closed.
    pub latency: Histogram,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Load {
    /// Does it from a namespace.
    ///
    /// # Errors
    /// When connections cannot be opened at all. What fails later is counted.
    pub(super) fn run(&self, netns: &Netns) -> Result<Outcome> {
        netns.run(|| {
            processor::stay_on(Processor::Clients)?;
            Clients::new(self)?.run()
        })
    }
}
