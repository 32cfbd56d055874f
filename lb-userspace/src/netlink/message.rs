//! Netlink messages: a header, the family's own header, attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NlasIterator,
};

/// Length of `struct nlmsghdr`, and what messages in a datagram are aligned to.
const HEADER_LENGTH: usize = 16;
const ALIGNMENT: usize = 4;

/// A request to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    kind: u16,
    flags: u16,
    payload: Vec<u8>,
}

impl Request {
    /// A question with one answer. `header` is the family's own (`struct rtmsg`, `struct ndmsg`…).
    pub(crate) fn get(kind: u16, header: &[u8]) -> Self {
        Self { kind, flags: NLM_F_REQUEST, payload: header.to_vec() }
    }

    /// A question answered with all there is.
    pub(crate) fn dump(kind: u16, header: &[u8]) -> Self {
        Self { kind, flags: NLM_F_REQUEST | NLM_F_DUMP, payload: header.to_vec() }
    }

    /// An order to make something, which the kernel acknowledges.
    pub(crate) fn create(kind: u16, header: &[u8]) -> Self {
        Self { kind, flags: NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK, payload: header.to_vec() }
    }

    /// The same, also when it is there already and has to be changed.
    pub(crate) fn replace(kind: u16, header: &[u8]) -> Self {
        Self { flags: NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, ..Self::create(kind, header) }
    }

    /// An order, which the kernel acknowledges.
    pub(crate) fn order(kind: u16, header: &[u8]) -> Self {
        Self { kind, flags: NLM_F_REQUEST | NLM_F_ACK, payload: header.to_vec() }
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let attribute = DefaultNla::new(kind, value.to_vec());
        let start = self.payload.len();
        self.payload.resize(start + attribute.buffer_len(), 0);
        attribute.emit(&mut self.payload[start..]);
        self
    }

    /// Adds an address as an attribute.
    pub(crate) fn address(self, kind: u16, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    /// Adds an attribute that holds attributes, each a kind and a value.
    pub(crate) fn nested(self, kind: u16, attributes: &[(u16, &[u8])]) -> Self {
        let inner =
            attributes.iter().fold(Self::get(0, &[]), |inner, (kind, value)| inner.attribute(*kind, value)).payload;
        self.attribute(kind | NLA_F_NESTED, &inner)
    }

    /// Appends the message to a datagram.
    pub(crate) fn emit(&self, sequence: u32, datagram: &mut Vec<u8>) {
        let length = HEADER_LENGTH + self.payload.len();
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(length).expect("requests are a few hundred bytes");
        header.message_type = self.kind;
        header.flags = self.flags;
        header.sequence_number = sequence;
        let start = datagram.len();
        datagram.resize(start + HEADER_LENGTH, 0);
        header.emit(&mut datagram[start..]);
        datagram.extend_from_slice(&self.payload);
        datagram.resize(start + length.next_multiple_of(ALIGNMENT), 0);
    }
}

/// One message from the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// The request it answers; 0 for an event.
    pub(crate) sequence: u32,
    /// `NLM_F_…`.
    pub(crate) flags: u16,
    /// What it says.
    pub(crate) content: Content<'a>,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// The end of a dump, with an error number or 0.
    Done(i32),
    /// A refusal with its (positive) error number, or, with 0, an acknowledgement.
    Error(i32),
    /// A message of the family: its type, and its bytes from the family's own header on.
    Family(u16, &'a [u8]),
}

/// The messages of a datagram. What is cut short or malformed ends it.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let buffer = NetlinkBuffer::new_checked(rest).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let payload = rest.get(HEADER_LENGTH..length)?;
        let content = match buffer.message_type() {
            NLMSG_ERROR => Content::Error(number(payload)?.checked_neg()?),
            // The kernel may leave the number out.
            NLMSG_DONE => Content::Done(number(payload).unwrap_or(0).checked_neg()?),
            kind => Content::Family(kind, payload),
        };
        let message = Message { sequence: buffer.sequence_number(), flags: buffer.flags(), content };
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
        Some(message)
    })
}

fn number(payload: &[u8]) -> Option<i32> {
    payload.first_chunk().copied().map(i32::from_ne_bytes)
}

/// The attributes after a header of `header` bytes: kinds and values. Ends at the first malformed one.
pub(crate) fn attributes(payload: &[u8], header: usize) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(payload.get(header..).unwrap_or(&[]))
        .map_while(Result::ok)
        // The iterator lends attributes that borrow from the payload, not from themselves.
        .filter_map(|attribute| {
            let length = usize::from(attribute.length());
            attribute.into_inner().get(4..length).map(|value| (attribute.kind(), value))
        })
}

/// Reads a `u32` attribute.
pub(crate) fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// Reads a `u64` attribute.
pub(crate) fn u64_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_ne_bytes)
}

/// Reads a zero-terminated string.
pub(crate) fn string_of(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).ok().map(str::to_owned)
}

/// Reads an IPv4 or IPv6 address, by its length.
pub(crate) fn address_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes))),
        16 => <[u8; 16]>::try_from(value).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_is_read_back() {
        let mut datagram = Vec::new();
        Request::get(26, &[1, 2, 3, 4]).attribute(5, &[9, 8, 7]).attribute(6, &[1]).emit(7, &mut datagram);
        Request::dump(18, &[0; 16]).emit(8, &mut datagram);
        let read: Vec<_> = messages(&datagram).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].sequence, read[1].sequence), (7, 8));
        let Content::Family(26, payload) = read[0].content else { panic!("{:?}", read[0]) };
        assert_eq!(attributes(payload, 4).collect::<Vec<_>>(), [(5, &[9, 8, 7][..]), (6, &[1][..])]);
    }

    #[test]
    fn cut_short_anywhere_nothing_is_read_outside() {
        let mut datagram = Vec::new();
        Request::get(26, &[1, 2, 3, 4]).attribute(5, &[9, 8, 7, 6]).emit(7, &mut datagram);
        for length in 0..datagram.len() {
            assert_eq!(messages(&datagram[..length]).count(), 0, "{length} bytes");
        }
        let Content::Family(_, payload) = messages(&datagram).next().unwrap().content else { panic!() };
        for length in 0..payload.len() {
            assert_eq!(attributes(&payload[..length], 4).count(), 0, "{length} bytes");
        }
    }

    #[test]
    fn an_error_carries_its_number() {
        let mut datagram = Vec::new();
        Request::get(NLMSG_ERROR, &(-101_i32).to_ne_bytes()).emit(1, &mut datagram);
        assert_eq!(messages(&datagram).next().unwrap().content, Content::Error(101));
    }
}
