//! What the packet path asks for: clients whose next hop has no known Ethernet address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use lb_common::Address;
use lb_common::abi::map;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Object;

/// How many are taken from the ring at once.
const AT_ONCE: usize = 256;

/// The reading end of the ring.
pub struct Unresolved {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Unresolved {
    /// Takes the ring out of a loaded object. Inside of a tokio runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe to call; the ring owns its file descriptor and keeps it open"
    )]
    pub fn new(object: &mut Object) -> Result<Self> {
        let ring: RingBuf<MapData> = object.map(map::UNRESOLVED)?;
        Ok(Self { ring: AsyncFd::with_interest(ring, Interest::READABLE).context("waiting for the programs' ring")? })
    }

    /// Waits until somebody is asked for. Cancel safe: nothing is taken from the ring before it is returned.
    pub async fn next(&mut self) -> Result<BTreeSet<IpAddr>> {
        loop {
            let mut guard = self.ring.readable_mut().await.context("waiting for the programs' ring")?;
            let ring = guard.get_inner_mut();
            let mut asked = BTreeSet::new();
            for _ in 0..AT_ONCE {
                let Some(item) = ring.next() else {
                    guard.clear_ready();
                    break;
                };
                if let Ok(bytes) = <[u8; size_of::<Address>()]>::try_from(&item[..]) {
                    asked.insert(Address::from_v6(bytes).into());
                }
            }
            if !asked.is_empty() {
                return Ok(asked);
            }
        }
    }
}
