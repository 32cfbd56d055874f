//! Server ids: what QUIC connection ids name a backend by (draft-ietf-quic-load-balancers).

use std::fmt;

use lb_common::abi::{MAX_SERVER_ID, QuicKey};

/// What a server id is written as.
pub const SERVER_ID: &str = "a server id of 1 to 15 bytes, each as two hexadecimal digits";

/// A backend's server id, of 1 to [`MAX_SERVER_ID`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId {
    /// What it is shorter than the longest is zero.
    bytes: [u8; MAX_SERVER_ID],
    length: u8,
}

impl ServerId {
    /// Reads hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
        let digits = digits?;
        let length = digits.len() / 2;
        if digits.len() % 2 != 0 || length == 0 || length > MAX_SERVER_ID {
            return None;
        }
        let mut bytes = [0; MAX_SERVER_ID];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(Self { bytes, length: u8::try_from(length).ok()? })
    }

    /// How many bytes it has.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Where the packet path finds it, of a service.
    pub const fn key(self, service: u32) -> QuicKey {
        QuicKey { service, server_id: self.bytes, length: self.length }
    }

    /// The server id of a key; `None` when it can be none.
    pub fn of_key(key: &QuicKey) -> Option<Self> {
        let length = usize::from(key.length);
        let fits = (1..=MAX_SERVER_ID).contains(&length) && key.server_id.iter().skip(length).all(|byte| *byte == 0);
        fits.then_some(Self { bytes: key.server_id, length: key.length })
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().take(self.length.into()).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_and_written() {
        for text in ["00", "a1b2c3", "0123456789abcdef0123456789abcd"] {
            let id = ServerId::parse(text).expect(text);
            assert_eq!((id.to_string(), usize::from(id.length())), (text.to_owned(), text.len() / 2));
            assert_eq!(ServerId::of_key(&id.key(7)), Some(id));
        }
        assert_eq!(ServerId::parse("AB"), ServerId::parse("ab"));
        for text in ["", "a", "abc", "0g", "0123456789abcdef0123456789abcdef", "é1", "+1"] {
            assert_eq!(ServerId::parse(text), None, "{text}");
        }
    }
}
