//! Rates as a person writes them: `50 Mbit/s`.

use std::fmt;
use std::str::FromStr;

use super::Unit;

/// The units of the configuration, and how many of [`Unit`]'s they are; of each, the first is the one that is shown.
const WORDS: [(&str, Unit, u64); 12] = [
    ("packets/s", Unit::Packets, 1),
    ("bytes/s", Unit::Bytes, 1),
    ("Gbit/s", Unit::Bits, 1_000_000_000),
    ("Mbit/s", Unit::Bits, 1_000_000),
    ("kbit/s", Unit::Bits, 1_000),
    ("bits/s", Unit::Bits, 1),
    ("Gbits/s", Unit::Bits, 1_000_000_000),
    ("Mbits/s", Unit::Bits, 1_000_000),
    ("kbits/s", Unit::Bits, 1_000),
    ("bit/s", Unit::Bits, 1),
    ("new-connections/s", Unit::NewConnections, 1),
    ("connections", Unit::Connections, 1),
];

/// What may be a unit, for messages.
pub(super) const UNITS: &str = "packets/s, bytes/s, bits/s, kbit/s, Mbit/s, Gbit/s, new-connections/s or connections";

/// A number of units a second; of [`Unit::Connections`], of units at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub value: u64,
    /// Of what.
    pub unit: Unit,
}

/// The unit that a word is, and how many of it.
pub(crate) fn unit_named(word: &str) -> Option<(Unit, u64)> {
    WORDS.iter().find(|(name, ..)| *name == word).map(|(_, unit, scale)| (*unit, *scale))
}

/// The words of units, for who looks for the nearest.
pub(super) fn words() -> Vec<&'static str> {
    WORDS.iter().map(|(name, ..)| *name).collect()
}

/// Why a text is no [`Rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number and its unit, such as \"50 Mbit/s\" or \"1000 packets/s\", within the bounds of the unit")]
pub struct NoRate;

impl FromStr for Rate {
    type Err = NoRate;

    /// A number, which may have digits behind the point, and a unit; spaces between them or none.
    fn from_str(text: &str) -> Result<Self, NoRate> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(NoRate)?;
        let (number, word) = text.split_at(end);
        let (unit, scale) = unit_named(word.trim_start()).ok_or(NoRate)?;
        let value = scaled(number, scale).ok_or(NoRate)?;
        let (least, most) = unit.bounds();
        if (least..=most).contains(&value) { Ok(Self { value, unit }) } else { Err(NoRate) }
    }
}

/// The number times `scale`, a power of ten, if that is whole.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = scale.ilog10() as usize;
    if fraction.len() > digits {
        return None;
    }
    // Padded to the right it is in units.
    let fraction: u64 = if digits == 0 { 0 } else { format!("{fraction:0<digits$}").parse().ok()? };
    whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(fraction)
}

impl fmt::Display for Rate {
    /// In the largest unit of which it is a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |(_, unit, scale): &&(&str, Unit, u64)| *unit == self.unit && self.value.is_multiple_of(*scale);
        match WORDS.iter().find(of) {
            Some((word, _, scale)) => write!(f, "{} {word}", self.value / scale),
            None => write!(f, "{} {}", self.value, self.unit.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_as_it_is_read() {
        for (text, value, unit) in [
            ("50 Mbit/s", 50_000_000, Unit::Bits),
            ("8 kbit/s", 8_000, Unit::Bits),
            ("100 Gbit/s", 100_000_000_000, Unit::Bits),
            ("1500 kbit/s", 1_500_000, Unit::Bits),
            ("1001 bits/s", 1_001, Unit::Bits),
            ("1 packets/s", 1, Unit::Packets),
            ("125000000 bytes/s", 125_000_000, Unit::Bytes),
            ("10 new-connections/s", 10, Unit::NewConnections),
            ("100 connections", 100, Unit::Connections),
        ] {
            let rate = Rate { value, unit };
            assert_eq!((text.parse(), rate.to_string().as_str()), (Ok(rate), text));
        }
        assert_eq!("1.5Gbits/s".parse(), Ok(Rate { value: 1_500_000_000, unit: Unit::Bits }));
        assert_eq!("0.008 kbit/s".parse(), Ok(Rate { value: 8, unit: Unit::Bits }));
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "50",
            "Mbit/s",
            "50 mbit/s",
            "50 Mb/s",
            "-1 bits/s",
            "1. kbit/s",
            ".5 kbit/s",
            "1.5 packets/s",
            "0 packets/s",
            "7 bits/s",
            "801 Gbit/s",
            "1.0001 kbit/s.",
            "0.00001 kbit/s",
            "1e3 bits/s",
            "1.2.3 kbit/s",
            "99999999999999999999 bits/s",
            "18446744073709551615 Gbit/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(NoRate), "{text}");
        }
    }
}
