//! Pseudo-random bytes that both ends can make for themselves, and sums over bytes.

/// The odd constant of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of bytes that its key and the position in it determine.
#[derive(Debug, Clone)]
pub struct Keystream {
    key: u64,
    at: u64,
}

impl Keystream {
    /// The stream of this key, from its beginning.
    pub fn new(key: u64) -> Self {
        Self { key: mix(key), at: 0 }
    }

    /// The next bytes are mixed into `bytes` (exclusive or): twice the same is as before.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let mut word = self.word();
        for byte in bytes {
            *byte ^= word[usize::try_from(self.at % 8).expect("less than eight")];
            self.at += 1;
            if self.at.is_multiple_of(8) {
                word = self.word();
            }
        }
    }

    /// The next eight bytes as a number.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.apply(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// The next number below `bound`, which is not 0; as good as even for bounds far below 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    fn word(&self) -> [u8; 8] {
        mix(self.key.wrapping_add((self.at / 8).wrapping_mul(GOLDEN))).to_le_bytes()
    }
}

/// SplitMix64's finalizer.
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(GOLDEN);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// FNV-1a, 64 bits: enough to see that bytes are not the ones that were sent.
pub(super) fn sum(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let mut whole = [0; 100];
        Keystream::new(7).apply(&mut whole);
        let (mut cut, mut stream) = ([0; 100], Keystream::new(7));
        let (first, rest) = cut.split_at_mut(13);
        stream.apply(first);
        stream.apply(rest);
        assert_eq!(cut, whole);
        Keystream::new(7).apply(&mut cut);
        assert_eq!(cut, [0; 100]);
        Keystream::new(8).apply(&mut cut);
        assert_ne!(cut, whole);
    }
}
