//! Checksums, by the book.

/// The Internet's checksum (RFC 1071 §1).
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// SCTP's checksum (RFC 9260 appendix A): Castagnoli's polynomial 0x1EDC6F41, the bits of every byte from the lowest to
/// the highest, the register begun with ones and inverted at the end. What goes on the wire are its bytes from the lowest
/// to the highest.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let polynomial = 0x1edc_6f41_u32.reverse_bits();
    let mut register = u32::MAX;
    for byte in bytes {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            register = if register & 1 == 1 { register >> 1 ^ polynomial } else { register >> 1 };
        }
    }
    !register
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_rfcs() {
        // RFC 1071 §3: the sum is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        // RFC 3720 appendix B.4: 32 bytes of zeroes give aa 36 91 8a on the wire, counting bytes 43 79 dd 46 … .
        assert_eq!(crc32c(&[0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()).to_le_bytes(), [0x4e, 0x79, 0xdd, 0x46]);
    }
}
