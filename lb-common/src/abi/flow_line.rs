//! How remembered flows lie in memory: a line of the cache each, in groups.

use super::{Flow, FlowKey};

/// One flow of the table: what a packet needs of it is one line of the cache. See [`flow_table`](crate::flow_table).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowLine {
    /// What the line is used for, and since when.
    pub state: u64,
    /// Whose it is: [`FlowKey::to_words`].
    pub key: [u64; 3],
    /// What is known of it.
    pub flow: Flow,
    /// Always zero.
    pub pad: u64,
}

/// The lines among which a flow is looked for.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowGroup(pub [FlowLine; FlowGroup::LINES as usize]);

impl FlowLine {
    /// Words of a line.
    pub const WORDS: usize = size_of::<Self>() / 8;
}

impl FlowGroup {
    /// How many lines it has: a power of two.
    pub const LINES: u32 = 8;
}

/// Two halves of a word, as they lie in memory.
#[inline(always)]
const fn word(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// The inverse of [`word`].
#[inline(always)]
const fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}

impl FlowKey {
    /// Its words, as they lie in memory.
    #[inline(always)]
    pub const fn to_words(&self) -> [u64; 3] {
        let ([a, b, c, d], [p, q], [r, s]) =
            (self.client.words(), self.client_port.to_ne_bytes(), self.port.to_ne_bytes());
        [word(a, b), word(c, d), word(self.service, u32::from_ne_bytes([p, q, r, s]))]
    }

    /// The inverse of [`Self::to_words`].
    #[inline(always)]
    pub const fn from_words([first, second, third]: [u64; 3]) -> Self {
        let ((a, b), (c, d), (service, ports)) = (halves(first), halves(second), halves(third));
        let [p, q, r, s] = ports.to_ne_bytes();
        Self {
            client: crate::Address::from_words([a, b, c, d]),
            service,
            client_port: u16::from_ne_bytes([p, q]),
            port: u16::from_ne_bytes([r, s]),
        }
    }
}

impl Flow {
    /// Its words, as they lie in memory.
    #[inline(always)]
    pub const fn to_words(&self) -> [u64; 3] {
        [word(self.backend, self.seen_s), word(self.client, self.server), word(self.client_next, self.client_expects)]
    }

    /// The inverse of [`Self::to_words`].
    #[inline(always)]
    pub const fn from_words([first, second, third]: [u64; 3]) -> Self {
        let ((backend, seen_s), (client, server)) = (halves(first), halves(second));
        let (client_next, client_expects) = halves(third);
        Self { backend, seen_s, client, server, client_next, client_expects }
    }
}

const _: () = assert!(size_of::<FlowLine>() == 64);
const _: () = assert!(size_of::<FlowGroup>() == 512);
const _: () = assert!(FlowGroup::LINES.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    #[test]
    fn words_are_what_lies_in_memory() {
        let key = FlowKey { port: 7, ..FlowKey::new(Address::from_v4([198, 51, 100, 1]), [0x9c, 0x40], 3) };
        assert_eq!(FlowKey::from_words(key.to_words()), key);
        let bytes: Vec<u8> = key.to_words().iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes[..16], key.client.v6());
        assert_eq!(bytes[16..20], 3_u32.to_ne_bytes());
        assert_eq!((&bytes[20..22], &bytes[22..]), (&[0x9c, 0x40][..], &7_u16.to_ne_bytes()[..]));
        let flow = Flow { backend: 1, seen_s: 2, client: 3, server: 4, client_next: 5, client_expects: 6 };
        assert_eq!(Flow::from_words(flow.to_words()), flow);
        let bytes: Vec<u8> = flow.to_words().iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes, (1..=6_u32).flat_map(u32::to_ne_bytes).collect::<Vec<_>>());
    }
}
