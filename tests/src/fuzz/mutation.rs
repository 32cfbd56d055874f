//! What goes wrong with bytes.

use super::Numbers;

/// The least that a device delivers: an Ethernet header.
const LEAST: usize = 14;

/// Changes some bytes, or the end of a frame.
pub(super) fn mutate(numbers: &mut Numbers, frame: &mut Vec<u8>) {
    for _ in 0..numbers.below(4) {
        // Headers are what is read.
        let reach = if numbers.once_in(4) { frame.len() } else { frame.len().min(110) };
        let at = if numbers.once_in(10) { numbers.below(12) } else { 12 + numbers.below(reach.saturating_sub(12)) };
        let Some(byte) = frame.get_mut(at) else { continue };
        *byte = match numbers.below(6) {
            0 => 0,
            1 => 0xff,
            2 => *byte ^ 1 << numbers.below(8),
            3 => byte.wrapping_add(1),
            4 => byte.wrapping_sub(1),
            _ => numbers.byte(),
        };
    }
    match numbers.below(10) {
        0 => frame.truncate(LEAST + numbers.below(frame.len().saturating_sub(LEAST) + 1)),
        1 => frame.truncate(LEAST + numbers.below(90)),
        2 => frame.extend(std::iter::repeat_n(0xee, numbers.below(64))),
        3 => {
            let at = LEAST + numbers.below(60);
            if at + 4 < frame.len() {
                frame.drain(at..at + 1 + numbers.below(4));
            }
        }
        _ => {}
    }
}
