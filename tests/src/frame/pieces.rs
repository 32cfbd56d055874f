//! Datagrams in fragments (RFC 791 §3.2, RFC 8200 §4.5).

use super::Frame;

/// "More fragments" of IPv4.
const V4_MORE: u16 = 0x2000;
/// That of IPv6.
const V6_MORE: u16 = 1;

impl Frame {
    /// The fragments of the datagram, cut before each of these bytes of what follows the IP headers. All cuts are
    /// multiples of eight. Extension headers stand before each of the fragment headers.
    #[must_use]
    pub fn pieces(&self, cuts: &[usize]) -> Vec<Self> {
        let length = self.segment().len();
        let starts = [&[0], cuts].concat();
        let ends = cuts.iter().copied().chain([length]);
        starts.iter().zip(ends).map(|(&start, end)| self.piece(start, end)).collect()
    }

    /// The fragment with the bytes from `start` to before `end` of what follows the IP headers. The last one is that
    /// which ends where they end.
    #[must_use]
    pub fn piece(&self, start: usize, end: usize) -> Self {
        let more = end < self.segment().len();
        self.piece_that(start, end, more)
    }

    /// The same, of which it is said, true or not, that more follows.
    #[must_use]
    pub fn piece_that(&self, start: usize, end: usize, more: bool) -> Self {
        let units = (start / 8) as u16;
        let fragment = if self.is_v4() {
            units | if more { V4_MORE } else { 0 }
        } else {
            units << 3 | if more { V6_MORE } else { 0 }
        };
        Self { fragment, part: Some((start, end)), padding: Vec::new(), ..self.clone() }
    }

    /// The same, said to begin at another offset.
    #[must_use]
    pub fn said_to_be_at(self, offset: usize) -> Self {
        let units = (offset / 8) as u16;
        let fragment = if self.is_v4() { self.fragment & 0xe000 | units } else { self.fragment & 7 | units << 3 };
        Self { fragment, ..self }
    }
}
