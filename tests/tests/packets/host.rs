//! The host's build of the packet path, with the rows of a stage.

use std::collections::BTreeMap;

use lb_common::abi::{DeviceFlags, Traffic};
use lb_common::decide::{closely, from_port};
use lb_common::host::{HostFrame, HostTables};
use lb_common::refusal::Action;
use lb_common::{Refusal, Scratch, Verdict};

use crate::stage::INGRESS;

/// What became of a frame: the XDP action, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Pass(Vec<u8>),
    Drop,
    Transmit(Vec<u8>),
    Redirect(Vec<u8>),
}

impl Seen {
    /// What came out.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Pass(bytes) | Self::Transmit(bytes) | Self::Redirect(bytes) => Some(bytes),
            Self::Drop => None,
        }
    }
}

/// The host's tables, and how many packets they have counted.
pub(crate) struct Host {
    pub tables: HostTables,
    packets: u64,
    refused: Vec<u64>,
}

impl Host {
    pub(crate) fn new(tables: HostTables) -> Self {
        Self { tables, packets: 0, refused: vec![0; Refusal::ALL.len()] }
    }

    /// What becomes of a frame and under which name it is counted; or what is wrong with it: whatever is refused has to stay
    /// as it was, and everything has to be counted once.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<(Seen, Option<Refusal>), String> {
        let mut packet = HostFrame::new(frame);
        // The kernel tries the fast way first: whatever it says there is held to what a close look says.
        let is_port = self.tables.devices.get(&INGRESS).is_some_and(|device| device.flags & DeviceFlags::PORT != 0);
        let scratch = &mut Scratch::default();
        let verdict = if is_port {
            from_port(&mut packet, &self.tables, scratch, INGRESS)
        } else {
            closely(&mut packet, &self.tables, scratch, INGRESS, false)
        };
        let bytes = packet.bytes().to_vec();
        let refusal = self.counted()?;
        let seen = match verdict {
            Verdict::Transmit { ifindex: INGRESS, redirect: false } => Seen::Transmit(bytes),
            Verdict::Transmit { .. } | Verdict::Hand { .. } => Seen::Redirect(bytes),
            Verdict::Stack => Seen::Pass(bytes),
            Verdict::Refused(said) => {
                if bytes != frame || refusal != Some(said) {
                    return Err(format!(
                        "refused as {said:?}, counted as {refusal:?}, and it came out as {bytes:02x?}"
                    ));
                }
                if said.action() == Action::Pass { Seen::Pass(bytes) } else { Seen::Drop }
            }
        };
        Ok((seen, refusal))
    }

    /// As what the last packet was counted.
    fn counted(&mut self) -> Result<Option<Refusal>, String> {
        self.packets += 1;
        let mut found = None;
        for (&refusal, count) in self.tables.refusals.borrow().iter() {
            let before = &mut self.refused[refusal as usize];
            if before != count {
                *before = *count;
                found = Some(refusal);
            }
        }
        let refused: u64 = self.refused.iter().sum();
        let sum =
            |all: &BTreeMap<u32, Traffic>| -> u64 { all.values().map(|one| one.packets + one.reply_packets).sum() };
        let carried = sum(&self.tables.service_traffic.borrow()) + sum(&self.tables.backend_traffic.borrow());
        if refused + carried == self.packets {
            Ok(found)
        } else {
            Err(format!("{refused} refused and {carried} carried packets of {}", self.packets))
        }
    }
}
