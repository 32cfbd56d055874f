//! Internet checksums, updated by what changed (RFC 1624).

use crate::Address;

/// The change of a sum: `~m + m'` over every word that was replaced.
///
/// One's-complement sums do not care for the byte order as long as everything is summed in the same one (RFC 1071
/// §2), nor whether words are added by sixteen bits or by thirty-two: words are taken as they lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta(u64);

impl Delta {
    /// Nothing changed.
    #[inline(always)]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The change as a sum of 32 bits.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the carry has been added")]
    pub const fn folded32(self) -> u32 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((sum & 0xffff_ffff) + (sum >> 32)) as u32
    }

    /// A word of 32 bits was replaced.
    #[inline(always)]
    #[must_use]
    pub const fn replace32(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// A word of 16 bits was replaced.
    #[inline(always)]
    #[must_use]
    pub const fn replace16(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// The checksum field after the change: `HC' = ~(~HC + ~m + m')`, RFC 1624 equation 3. Takes and returns the
    /// field as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + !checksum as u64)
    }

    /// As [`Self::apply`], for UDP: a field of zero says that there is no checksum and stays zero, and a computed zero
    /// is sent as all ones (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// The checksum of an IPv4 header, as it lies in memory, after one was taken from its time to live (RFC 1141).
#[inline(always)]
pub const fn after_ttl(checksum: u16) -> u16 {
    let sum = checksum as u32 + 0x0100_u16.to_be() as u32;
    // All ones and nothing are the same: like RFC 1624 it gives nothing.
    #[expect(clippy::cast_possible_truncation, reason = "the carry has been added")]
    let folded = (sum + ((sum + 1) >> 16)) as u16;
    folded
}

/// A sum of words, each as it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing.
    #[inline(always)]
    pub const fn none() -> Self {
        Self(0)
    }

    /// With one more word of 16 bits.
    #[inline(always)]
    #[must_use]
    pub const fn add16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// With one more word of 32 bits.
    #[inline(always)]
    #[must_use]
    pub const fn add32(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// With the words of an address.
    #[inline(always)]
    #[must_use]
    pub const fn add_address(self, address: Address) -> Self {
        let [a, b, c, d] = address.words();
        self.add32(a).add32(b).add32(c).add32(d)
    }

    /// With another sum.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Less a word of 16 bits: its complement is its negative.
    #[inline(always)]
    #[must_use]
    pub const fn subtract16(self, word: u16) -> Self {
        self.add16(!word)
    }

    /// Less the words of two addresses of one family.
    #[inline(always)]
    #[must_use]
    pub const fn subtract_addresses(self, v4: bool, one: Address, other: Address) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (one.words(), other.words());
        let low = self.add32(!d).add32(!h);
        if v4 { low } else { low.add32(!a).add32(!b).add32(!c).add32(!e).add32(!f).add32(!g) }
    }

    /// The same in sixteen bits.
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }

    /// The checksum field, as it lies in memory (RFC 1071).
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        !fold(self.0)
    }
}

/// Folds a sum of words into sixteen bits, carries added back in.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the carries were just folded in: what is left has sixteen bits")]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// The checksum of `bytes`, computed in full (RFC 1071), as it lies in memory.
#[cfg(not(target_arch = "bpf"))]
pub fn full(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    !fold(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_1624_example() {
        // RFC 1624 §4: HC = 0xDD2F, m = 0x5555, m' = 0x3285, HC' = 0x0000.
        let delta = Delta::none().replace16(0x5555, 0x3285);
        assert_eq!(delta.apply(0xdd2f), 0x0000);
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        assert_eq!(Delta::none().replace32(1, 2).apply_udp(0), 0);
    }

    #[test]
    fn udp_never_sends_a_computed_zero() {
        assert_eq!(Delta::none().replace16(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
    }

    proptest! {
        #[test]
        fn equals_a_plain_recomputation(
            mut words in proptest::collection::vec(any::<u32>(), 1..40),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..12),
        ) {
            // A header with some non-zero word, as every real one has: the all-zero sum has two representations.
            words.push(0x4500_0000);
            let bytes = |w: &[u32]| w.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
            let before = full(&[&bytes(&words)]);
            let mut delta = Delta::none();
            let last = words.len() - 1;
            for (at, new) in changes {
                let at = at.index(last);
                delta = delta.replace32(words[at], new);
                words[at] = new;
            }
            prop_assert_eq!(delta.apply(before), full(&[&bytes(&words)]));
        }
    }
}
