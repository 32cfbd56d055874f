//! Layer 2: Ethernet, and the tags of VLANs (IEEE 802.3-2022 §3.2, IEEE 802.1Q-2022 §9).

use super::{Frame, packet, protocol};

/// The tag protocol identifier of a customer's VLAN (IEEE 802.1Q-2022 table 9-1).
pub const VLAN: u16 = 0x8100;

/// That of a provider's, which stands before a customer's ("QinQ").
pub const QINQ: u16 = 0x88a8;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A VLAN tag: its protocol identifier, and three bits of priority, one of eligibility to be dropped, twelve of VLAN id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub u16, pub u16);

impl Tag {
    /// The VLAN's id.
    pub const fn id(self) -> u16 {
        self.1 & 0x0fff
    }
}

/// A frame that is not of IP.
pub fn other(ether_type: u16, bytes: impl Into<Vec<u8>>) -> Frame {
    let none = protocol("0.0.0.0", "0.0.0.0", 0);
    Frame { other: Some((ether_type, bytes.into())), ..packet(none.source, none.destination, none.transport) }
}

impl Frame {
    /// Where the packet begins in the frame.
    pub fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    /// The whole frame.
    pub fn bytes(&self) -> Vec<u8> {
        let (ether_type, packet) = match &self.other {
            Some((ether_type, bytes)) => (*ether_type, bytes.clone()),
            None => (if self.is_v4() { IPV4 } else { IPV6 }, self.packet()),
        };
        let mut frame = Vec::with_capacity(self.l3() + packet.len() + self.padding.len());
        frame.extend(self.mac_destination);
        frame.extend(self.mac_source);
        for Tag(identifier, information) in &self.tags {
            frame.extend(identifier.to_be_bytes());
            frame.extend(information.to_be_bytes());
        }
        frame.extend(self.lies.ether_type.unwrap_or(ether_type).to_be_bytes());
        frame.extend(packet);
        frame.extend(&self.padding);
        self.lies.finish(&mut frame);
        frame
    }
}
