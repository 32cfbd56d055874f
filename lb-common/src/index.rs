//! Where things are found without a search: two arrays beside the tables, derived from them.
//!
//! `PLACES` holds services by a hash of their VIPs; where two meet, one of them is there, and the other is found in `VIPS` as
//! ever. A service's head says at which VIP it is, so that nobody is taken for another. `KNOWN` is a Bloom filter with one
//! function (Bloom, 1970): a bit for each address that a VIP or a backend has, or Weir itself. Nearly every stranger is told
//! by it, for a word each for where a packet comes from and where it goes.

use crate::Address;
use crate::abi::VipKey;
use crate::hash::GOLDEN;

/// An odd number with about as many ones as zeroes: the fraction of the square root of two.
const ROOT: u64 = 0x6a09_e667_f3bc_c909;

/// A VIP's place among two to the power of `bits`.
#[inline(always)]
pub const fn place(vip: &VipKey, bits: u32) -> u32 {
    scale(address(vip.address) ^ (vip.tail() as u64).wrapping_mul(ROOT), bits)
}

/// An address's bit among two to the power of `bits`, of which there are 64 at least: the number of a word, and of a bit in it.
#[inline(always)]
pub const fn known(of: &Address, bits: u32) -> (u32, u32) {
    let bit = scale(address(*of), bits);
    (bit >> 6, bit & 63)
}

/// How many bits are wanted for so many addresses, as a power of two: one in sixteen is set at most.
pub const fn known_bits(addresses: u32) -> u32 {
    capped(addresses as u64 * 16, 12)
}

/// How many places are wanted for so many services, as a power of two: few of them meet another.
pub const fn place_bits(services: u32) -> u32 {
    capped(services as u64 * 16, 10)
}

/// The power of two that is not smaller, from `least` to 28.
const fn capped(number: u64, least: u32) -> u32 {
    let bits = number.next_power_of_two().trailing_zeros();
    if bits < least {
        least
    } else if bits > 28 {
        28
    } else {
        bits
    }
}

/// All of an address in one word.
#[inline(always)]
const fn address(address: Address) -> u64 {
    let [network, host] = address.halves();
    // What is multiplied spreads upwards: what addresses of one network differ in has to be at the lower end.
    u64::from_be(host) ^ network.wrapping_mul(ROOT)
}

/// The upper bits of a product (Knuth, The Art of Computer Programming 3, section 6.4).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "28 bits at most")]
const fn scale(word: u64, bits: u32) -> u32 {
    (word.wrapping_mul(GOLDEN) >> (64 - bits)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{TCP, UDP};

    /// How many of `places` have so many of `all`, at most.
    fn crowd(all: impl Iterator<Item = u32>, places: usize) -> (usize, u32) {
        let mut counts = vec![0_u32; places];
        all.for_each(|place| counts[place as usize] += 1);
        (counts.iter().filter(|count| **count > 1).count(), counts.into_iter().max().unwrap_or(0))
    }

    #[test]
    fn few_services_meet() {
        // Ports of one address, addresses of one port, both protocols: as people number them.
        let vip =
            |a: u8, port: u16, protocol| VipKey::new(Address::from_v4([203, 0, 113, a]), port.to_be_bytes(), protocol);
        let services =
            (0..=249).flat_map(|a| [(80, TCP), (443, TCP), (443, UDP), (53, UDP)].map(|(port, of)| vip(a, port, of)));
        let bits = place_bits(1000);
        let (shared, most) = crowd(services.map(|vip| place(&vip, bits)), 1 << bits);
        assert!(shared < 60 && most <= 3, "{shared} of 1000 share a place, {most} at most");
        let ports = (1..=1000).map(|port| place(&vip(1, port, TCP), bits));
        let (shared, most) = crowd(ports, 1 << bits);
        assert!(shared < 60 && most <= 3, "{shared} of 1000 ports share a place, {most} at most");
    }

    #[test]
    fn few_strangers_are_taken_for_known() {
        let bits = known_bits(4096);
        let mut set = vec![0_u64; 1 << (bits - 6)];
        let mut note = |address: &Address| {
            let (word, bit) = known(address, bits);
            set[word as usize] |= 1 << bit;
        };
        for n in 0..2048_u16 {
            let [a, b] = n.to_be_bytes();
            note(&Address::from_v4([10, 1, a, b]));
            note(&Address::from_v6([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b]));
        }
        let taken = |address: &Address| {
            let (word, bit) = known(address, bits);
            set[word as usize] >> bit & 1 != 0
        };
        let strangers = (0..=u16::MAX).map(u16::to_be_bytes);
        let v4 = strangers.clone().filter(|[a, b]| taken(&Address::from_v4([198, 51, *a, *b]))).count();
        let v6 = strangers
            .filter(|[a, b]| taken(&Address::from_v6([0x20, 1, 0xd, 0xb8, *a, *b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])))
            .count();
        // One bit in sixteen is set at most.
        assert!(v4 < 6000 && v6 < 6000, "{v4} and {v6} of 65,536");
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!((place_bits(0), place_bits(16), place_bits(u32::MAX)), (10, 10, 28));
        assert_eq!((known_bits(0), known_bits(u32::MAX)), (12, 28));
        assert_eq!(place(&VipKey::default(), 28), 0);
    }
}
