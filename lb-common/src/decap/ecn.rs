//! Congestion marks through a tunnel's end: RFC 6040 §4.2, figure 4.

/// The codepoints of the ECN field (RFC 3168 §5).
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
#[cfg(test)]
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The two bits of ECN in an IPv4 TOS or an IPv6 traffic class.
pub(super) const MASK: u8 = 0b11;

/// The outgoing packet's codepoint, or `None` when it is to be dropped.
#[inline(always)]
pub(super) const fn combine(inner: u8, outer: u8) -> Option<u8> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (CE, _) => Some(CE),
        (_, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_4_cell_by_cell() {
        // Rows: the arriving inner header. Columns: the arriving outer header: Not-ECT, ECT(0), ECT(1), CE.
        let figure = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                assert_eq!(combine(inner, outer), expected, "inner {inner:02b}, outer {outer:02b}");
                // The other bits, DSCP, do not matter.
                assert_eq!(combine(inner | 0xb8, outer | 0x64), expected);
            }
        }
    }
}
