use proptest::prelude::*;

use super::*;

/// A frame that records how far it was read.
struct Watched<'a>(&'a [u8]);

impl Packet for Watched<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let bytes = self.0.read(offset);
        assert_eq!(bytes.is_some(), offset + N <= self.0.len());
        bytes
    }
    fn write<const N: usize>(&mut self, _: usize, _: [u8; N]) -> Option<()> {
        panic!("the parser writes nothing")
    }
    fn length(&self) -> usize {
        self.0.len()
    }
    fn is_scattered(&self) -> bool {
        false
    }
    fn grow(&mut self, _: usize) -> Option<()> {
        panic!("the parser writes nothing")
    }
    fn shrink(&mut self, _: usize) -> Option<()> {
        panic!("the parser writes nothing")
    }
    fn truncate(&mut self, _: usize) -> Option<()> {
        panic!("the parser writes nothing")
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..5) {
        if bytes.len() > 22 {
            match kind {
                0 => bytes[12..15].copy_from_slice(&[0x08, 0x00, 0x45]),
                1 => bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]),
                2 => bytes[12..19].copy_from_slice(&[0x81, 0x00, 0, 7, 0x08, 0x00, 0x45]),
                3 => bytes[12..21].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 100, 0, 0]),
                _ => {}
            }
        }
        let mut headers = Headers::default();
        if parse(&Watched(&bytes), &mut headers).is_ok() {
            let l4 = usize::from(headers.l4);
            prop_assert!(headers.part == Part::LATER || headers.icmp() || l4 + 4 <= bytes.len());
            if headers.well_formed {
                prop_assert!(headers.ends_at() <= bytes.len());
                let transport_len = match (headers.part, headers.source.protocol) {
                    (Part::LATER, _) => 0,
                    (_, TCP) => 20,
                    (_, SCTP) => 12,
                    _ => 8,
                };
                prop_assert!(l4 + transport_len <= bytes.len());
            }
        }
    }
}

/// RFC 9293 section 3.10.7, in words.
#[test]
fn flags_are_bad_as_the_rule_says() {
    for flags in 0..=u8::MAX {
        let has = |flag| flags & flag != 0;
        let bad = if has(SYN) { has(FIN) || has(RST) } else { !has(ACK) && (!has(RST) || has(FIN)) };
        assert_eq!(bad_flags(flags), bad, "{flags:#04x}");
    }
}
