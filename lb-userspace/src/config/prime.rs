//! Primes, for table sizes.

/// The prime nearest to `number`, the smaller of two equally near; `number` itself if it is one.
pub(super) fn nearest_prime(number: u32) -> u32 {
    let below = |distance: u32| number.checked_sub(distance).filter(|candidate| is_prime(*candidate));
    let above = |distance: u32| number.checked_add(distance).filter(|candidate| is_prime(*candidate));
    // Bertrand: there is a prime between any number and its double, so the search ends.
    (0..=number.max(2)).find_map(|distance| below(distance).or_else(|| above(distance))).unwrap_or(2)
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_primes_are_known() {
        let primes: Vec<u32> = (0..40).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37]);
    }

    #[test]
    fn the_nearest_is_found_on_either_side() {
        for (number, expected) in [(0, 2), (1, 2), (8, 7), (9, 7), (10, 11), (65_536, 65_537), (1_048_573, 1_048_573)] {
            assert_eq!(nearest_prime(number), expected, "{number}");
        }
    }
}
