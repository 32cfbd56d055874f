//! Numbers that are the same for the same seed.

/// A generator (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins anew for a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// One below `bound`; 0 when that is 0.
    #[expect(clippy::cast_possible_truncation, reason = "below a bound that fits")]
    pub const fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.any() % bound as u64) as usize }
    }

    /// Once in so many times.
    pub const fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Any byte.
    #[expect(clippy::cast_possible_truncation, reason = "a byte is meant")]
    pub const fn byte(&mut self) -> u8 {
        self.any() as u8
    }

    /// Any two bytes.
    #[expect(clippy::cast_possible_truncation, reason = "two bytes are meant")]
    pub const fn word(&mut self) -> u16 {
        self.any() as u16
    }

    /// One of these.
    pub const fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
