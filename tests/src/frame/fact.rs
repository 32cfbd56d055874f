//! What another implementation must see in a frame.

use super::{Extension, Frame, Transport};

/// A field by tshark's name, and its values from the outermost header inwards. tshark may see more, in quoted packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The field.
    pub field: &'static str,
    /// Its values.
    pub values: Vec<String>,
}

impl Fact {
    /// Every field that a fact may be of.
    pub const FIELDS: [&'static str; 17] = [
        "eth.dst",
        "eth.src",
        "vlan.id",
        "ieee8021ad.id",
        "ip.src",
        "ip.dst",
        "ip.ttl",
        "ip.dsfield",
        "ip.proto",
        "ipv6.src",
        "ipv6.dst",
        "ipv6.hlim",
        "tcp.srcport",
        "tcp.dstport",
        "udp.srcport",
        "udp.dstport",
        "sctp.srcport",
    ];
}

impl Frame {
    /// What another implementation must see in it.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts: Vec<Fact> = Fact::FIELDS.map(|field| Fact { field, values: Vec::new() }).into();
        let mut note = |field: &str, value: String| {
            facts.iter_mut().find(|fact| fact.field == field).expect("a known field").values.push(value);
        };
        let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
        note("eth.dst", mac(self.mac_destination));
        note("eth.src", mac(self.mac_source));
        for tag in &self.tags {
            note(if tag.0 == super::QINQ { "ieee8021ad.id" } else { "vlan.id" }, tag.id().to_string());
        }
        let mut layer = self.other.is_none().then_some(self);
        while let Some(frame) = layer {
            frame.note_layer(&mut note);
            layer = frame.inner.as_deref();
        }
        facts.retain(|fact| !fact.values.is_empty());
        facts
    }

    fn note_layer(&self, note: &mut impl FnMut(&str, String)) {
        let (source, destination) = (self.source.0.to_string(), self.destination.0.to_string());
        if self.is_v4() {
            note("ip.src", source);
            note("ip.dst", destination);
            note("ip.ttl", self.ttl.to_string());
            note("ip.dsfield", format!("0x{:02x}", self.tos));
            note("ip.proto", self.protocol().to_string());
        } else {
            note("ipv6.src", source);
            note("ipv6.dst", destination);
            note("ipv6.hlim", self.ttl.to_string());
        }
        // Only what a header announces by its right name is looked behind.
        let later = self.part.is_some_and(|(start, _)| start != 0);
        if later || self.extensions.iter().any(|extension| matches!(extension, Extension::Raw(..))) {
            return;
        }
        let ports = match self.transport {
            Transport::Tcp(_) => Some(("tcp.srcport", "tcp.dstport")),
            Transport::Udp { .. } => Some(("udp.srcport", "udp.dstport")),
            _ => None,
        };
        if let Some((from, to)) = ports {
            note(from, self.source.1.to_string());
            note(to, self.destination.1.to_string());
        }
        if matches!(self.transport, Transport::Sctp { .. }) {
            note("sctp.srcport", self.source.1.to_string());
        }
    }
}
