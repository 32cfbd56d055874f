//! The least that shows a difference.

use std::time::{Duration, Instant};

/// Takes away packets, and bytes of them, for as long as `differs` says that what is left still shows a difference
/// (Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input", 2002). The last packet is the one that showed
/// it. When `time` is over, what was found by then has to do: a difference that is not the least is better than none.
pub fn shrink(packets: &[Vec<u8>], time: Duration, mut differs: impl FnMut(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
    let begin = Instant::now();
    let in_time = || begin.elapsed() < time;
    let mut least = packets.to_vec();
    // Most differences need nothing that was long ago.
    let mut tail = 1;
    while tail < least.len() && in_time() {
        let candidate = least[least.len() - tail..].to_vec();
        if differs(&candidate) {
            least = candidate;
            break;
        }
        tail *= 4;
    }
    let mut step = least.len() / 2;
    while step > 0 {
        let mut at = 0;
        while at + step < least.len() && in_time() {
            let candidate = [&least[..at], &least[at + step..]].concat();
            if differs(&candidate) {
                least = candidate;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    for number in 0..least.len() {
        let mut cut = least[number].len() / 2;
        while cut > 0 && in_time() {
            let kept = least[number].len().saturating_sub(cut);
            if kept >= 14 {
                let mut candidate = least.clone();
                candidate[number].truncate(kept);
                if differs(&candidate) {
                    least = candidate;
                    continue;
                }
            }
            cut /= 2;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::shrink;

    #[test]
    fn what_does_not_matter_goes() {
        let packets: Vec<Vec<u8>> = (0..100).map(|n| vec![n; 60]).collect();
        let least = shrink(&packets, Duration::MAX, |left| {
            let has = |n: u8, bytes: usize| left.iter().any(|packet| packet[0] == n && packet.len() >= bytes);
            has(17, 14) && has(99, 33)
        });
        assert_eq!(least, [vec![17; 14], vec![99; 33]]);
    }

    #[test]
    fn without_time_all_is_left() {
        let packets: Vec<Vec<u8>> = (0..100).map(|n| vec![n; 60]).collect();
        assert_eq!(shrink(&packets, Duration::ZERO, |_| true), packets);
    }
}
