//! Datagrams in fragments, in any order, some of them twice, some overlapping.

use super::Numbers;
use crate::frame::Frame;

/// The frames of a datagram's fragments.
pub(super) fn pieces(numbers: &mut Numbers, whole: &Frame) -> Vec<Vec<u8>> {
    let length = whole.segment().len();
    let mut cuts: Vec<usize> = (0..1 + numbers.below(4)).map(|_| numbers.below(length / 8 + 1) * 8).collect();
    cuts.retain(|cut| *cut > 0 && *cut < length);
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces = whole.pieces(&cuts);
    for _ in 0..numbers.below(3) {
        match numbers.below(4) {
            0 => {
                let again = numbers.of(&pieces).clone();
                pieces.push(again);
            }
            1 => {
                let start = numbers.below(length / 8 + 1) * 8;
                let end = (start + 8 * numbers.below(40)).min(length);
                if start < end {
                    pieces.push(whole.piece(start, end));
                }
            }
            2 => {
                let (from, to) = (numbers.below(pieces.len()), numbers.below(pieces.len()));
                pieces.swap(from, to);
            }
            _ => {
                let lost = numbers.below(pieces.len());
                if pieces.len() > 1 {
                    pieces.remove(lost);
                }
            }
        }
    }
    pieces.iter().map(Frame::bytes).collect()
}
