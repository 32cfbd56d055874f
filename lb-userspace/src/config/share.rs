//! Shares as a person writes them: `2%`, `0.5%`.

use std::fmt;
use std::str::FromStr;

/// Parts per million of the whole.
const WHOLE: u32 = 1_000_000;
/// Parts per million of one percent, and so many digits behind the point of a percentage.
const PERCENT: u32 = WHOLE / 100;
const DIGITS: usize = 4;

/// A share of a whole, in parts per million: 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(pub u32);

impl Share {
    /// The whole.
    pub const ALL: Self = Self(WHOLE);

    /// So many percent.
    pub const fn percent(percent: u32) -> Self {
        Self(percent * PERCENT)
    }

    /// `part` of `whole`, rounded up: a share that is within a bound truly is. Nothing of nothing is nothing.
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self(0);
        }
        let share = (u128::from(part) * u128::from(WHOLE)).div_ceil(u128::from(whole));
        Self(u32::try_from(share).unwrap_or(WHOLE).min(WHOLE))
    }
}

/// Why a text is no [`Share`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a share from 0% to 100% with at most {DIGITS} digits behind the point, such as 2% or 0.5%")]
pub struct NoShare;

impl FromStr for Share {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Self, NoShare> {
        let number = text.strip_suffix('%').ok_or(NoShare)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > DIGITS {
            return Err(NoShare);
        }
        // Padded to the right, it is in parts per million.
        let fraction: u32 = format!("{fraction:0<DIGITS$}").parse().map_err(|_| NoShare)?;
        let share = whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(PERCENT)?.checked_add(fraction));
        share.filter(|share| *share <= WHOLE).map(Self).ok_or(NoShare)
    }
}

impl fmt::Display for Share {
    /// `2%`, `0.5%`: as [`Self::from_str`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / PERCENT, self.0 % PERCENT);
        write!(f, "{whole}")?;
        if fraction > 0 {
            write!(f, ".{}", format!("{fraction:0>DIGITS$}").trim_end_matches('0'))?;
        }
        f.write_str("%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_shown_as_it_is_read() {
        for (text, ppm) in
            [("2%", 20_000), ("0.5%", 5_000), ("0.1%", 1_000), ("0.0001%", 1), ("12.25%", 122_500), ("0%", 0)]
        {
            assert_eq!(text.parse(), Ok(Share(ppm)), "{text}");
            assert_eq!(Share(ppm).to_string(), text);
        }
        assert_eq!("100%".parse(), Ok(Share::ALL));
        assert_eq!("1.50%".parse(), Ok(Share(15_000)));
        assert_eq!("007%".parse(), Ok(Share::percent(7)));
    }

    #[test]
    fn anything_else_is_none() {
        for text in
            ["", "%", "2", "2 %", "-1%", "+1%", ".5%", "5.%", "0.00001%", "100.1%", "101%", "4294967296%", "1e1%"]
        {
            assert_eq!(text.parse::<Share>(), Err(NoShare), "{text}");
        }
    }

    #[test]
    fn parts_are_rounded_up() {
        assert_eq!(Share::of(0, 0), Share(0));
        assert_eq!(Share::of(0, 251), Share(0));
        assert_eq!(Share::of(1, 251), Share(3_985));
        assert_eq!(Share::of(251, 251), Share::ALL);
        assert_eq!(Share::of(u64::MAX, 1), Share::ALL);
    }
}
