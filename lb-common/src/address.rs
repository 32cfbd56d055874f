//! Network addresses as the maps hold them.

/// An IPv6 address, or an IPv4 address in its IPv4-mapped form (RFC 4291 §2.5.5.2), in network byte order.
///
/// One form for both families, so that every table exists once. Four words rather than sixteen bytes, so that keys
/// and values are aligned for the JIT.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address {
    words: [u32; 4],
}

const _: () = assert!(size_of::<Address>() == 16);

/// The third word of every IPv4-mapped address.
const V4_MARK: u32 = 0x0000_ffff_u32.to_be();

impl Address {
    /// An IPv4 address from its bytes on the wire.
    #[inline(always)]
    pub const fn from_v4(bytes: [u8; 4]) -> Self {
        Self { words: [0, 0, V4_MARK, u32::from_ne_bytes(bytes)] }
    }

    /// An IPv6 address from its bytes on the wire.
    #[inline(always)]
    pub const fn from_v6(b: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
                u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
                u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
                u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
            ],
        }
    }

    /// An address from its four words, each in network byte order as it lies in memory.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// Its four words, each in network byte order as it lies in memory.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.words
    }

    /// Its two halves as they lie in memory.
    #[inline(always)]
    pub const fn halves(&self) -> [u64; 2] {
        let [a, b, c, d] = self.words;
        if cfg!(target_endian = "big") {
            return [(a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64];
        }
        [(b as u64) << 32 | a as u64, (d as u64) << 32 | c as u64]
    }

    /// The inverse of [`Self::halves`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "halves of words")]
    pub const fn from_halves([high, low]: [u64; 2]) -> Self {
        if cfg!(target_endian = "big") {
            return Self { words: [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32] };
        }
        Self { words: [high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32] }
    }

    /// The first `bits` of it, of 128, and zeroes behind them.
    #[inline(always)]
    #[must_use]
    pub const fn prefix(self, bits: u8) -> Self {
        if bits >= 128 {
            return self;
        }
        let [a, b, c, d] = self.words;
        let bits = bits as u32;
        Self {
            words: [
                a & word_mask(bits),
                b & word_mask(bits.saturating_sub(32)),
                c & word_mask(bits.saturating_sub(64)),
                d & word_mask(bits.saturating_sub(96)),
            ],
        }
    }

    /// The IPv4 address as bytes on the wire; meaningful when [`Self::is_v4`].
    #[inline(always)]
    pub const fn v4(&self) -> [u8; 4] {
        self.words[3].to_ne_bytes()
    }

    /// The sixteen bytes on the wire.
    #[inline(always)]
    pub const fn v6(&self) -> [u8; 16] {
        let [a, b, c, d] = self.words;
        let (a, b, c, d) = (a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes(), d.to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == V4_MARK
    }

    /// Whether no packet that is routed can come from here: unspecified, loopback, multicast, broadcast, and IPv6's
    /// link-local (RFC 1812 §5.3.7, RFC 4291 §2.5 and §2.7).
    #[inline(always)]
    pub const fn is_no_host(&self) -> bool {
        if self.is_v4() {
            let [first, ..] = self.v4();
            return self.words[3] == 0 || self.words[3] == u32::MAX || first == 127 || first & 0xf0 == 224;
        }
        let [first, second, ..] = self.words[0].to_ne_bytes();
        let last = u32::from_be(self.words[3]);
        first == 0xff
            || first == 0xfe && second & 0xc0 == 0x80
            || self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && last <= 1
    }
}

#[cfg(not(target_arch = "bpf"))]
impl From<std::net::IpAddr> for Address {
    fn from(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            std::net::IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
impl From<Address> for std::net::IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() { Self::from(address.v4()) } else { Self::from(address.v6()) }
    }
}

/// The first `bits` bits of a word as it lies in memory; all of them from 32 on.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn word_mask(bits: u32) -> u32 {
    let bits = if bits > 32 { 32 } else { bits };
    ((u64::MAX << (32 - bits)) as u32).to_be()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn round_trips_through_the_standard_types() {
        for text in ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::", "ff02::1"] {
            let ip: IpAddr = text.parse().unwrap();
            let address = Address::from(ip);
            assert_eq!(IpAddr::from(address), ip);
            assert_eq!(address.is_v4(), ip.is_ipv4());
        }
    }

    #[test]
    fn no_host_is_at_special_addresses() {
        for (text, expected) in [
            ("0.0.0.0", true),
            ("0.0.0.1", false),
            ("126.255.255.255", false),
            ("127.0.0.1", true),
            ("223.255.255.255", false),
            ("224.0.0.1", true),
            ("239.255.255.255", true),
            ("240.0.0.1", false),
            ("255.255.255.255", true),
            ("::", true),
            ("::1", true),
            ("::2", false),
            ("fe7f::1", false),
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("ff02::1", true),
            ("2001:db8::1", false),
        ] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Address::from(ip).is_no_host(), expected, "{text}");
        }
    }

    #[test]
    fn v4_lies_in_memory_as_on_the_wire() {
        assert_eq!(Address::from_v4([192, 0, 2, 1]).v6()[12..], [192, 0, 2, 1]);
        assert_eq!(Address::from_v4([192, 0, 2, 1]).v6()[10..12], [0xff, 0xff]);
    }
}
