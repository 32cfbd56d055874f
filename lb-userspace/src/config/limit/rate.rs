//! Rates as a person writes them: `50 Mbit/s`.

use std::fmt;
use std::str::FromStr;

use super::Unit;
use crate::config::nearest::{distance, nearest};

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
fn words() -> Vec<&'static str> {
    WORDS.iter().map(|(name, ..)| *name).collect()
}

/// The unit that a word was probably meant to be. Upper and lower case come first: by letters `mbit/s` is as near to Gbit/s. Of
/// several that are as near, none is better than one that is a thousand times another.
pub(super) fn near_unit(word: &str) -> Option<&'static str> {
    let known = words();
    if let Some(same) = known.iter().find(|known| known.eq_ignore_ascii_case(word)) {
        return Some(same);
    }
    let near = nearest(word, &known)?;
    let as_near = |other: &&str| distance(word, other) == distance(word, near);
    known.iter().copied().filter(as_near).all(|other| unit_named(other) == unit_named(near)).then_some(near)
}

/// Why a text is no [`Rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRate {
    /// It is no number with a word behind it.
    Form,
    /// The word is no unit; the one that was probably meant.
    Unit(Option<&'static str>),
    /// The number is out of the unit's bounds, or no whole one of it.
    Bounds(Unit),
}

impl std::error::Error for NoRate {}

impl fmt::Display for NoRate {
    /// What was expected instead.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FORM: &str = "expected a number and its unit, such as \"50 Mbit/s\" or \"1000 packets/s\"";
        match self {
            Self::Form | Self::Unit(None) => write!(f, "{FORM}; units are {UNITS}"),
            Self::Unit(Some(near)) => write!(f, "{FORM}; units are {UNITS} (did you mean {near}?)"),
            Self::Bounds(unit) => {
                let (least, most) = unit.bounds();
                let shown = |value| Rate { value, unit: *unit };
                write!(f, "expected {} to {}, in whole {}", shown(least), shown(most), unit.name())
            }
        }
    }
}

impl FromStr for Rate {
    type Err = NoRate;

    /// A number, which may have digits behind the point, and a unit; spaces between them or none.
    fn from_str(text: &str) -> Result<Self, NoRate> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(NoRate::Form)?;
        let (number, word) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(NoRate::Form);
        }
        let word = word.trim_start();
        let (unit, scale) = unit_named(word).ok_or_else(|| NoRate::Unit(near_unit(word)))?;
        let (least, most) = unit.bounds();
        let value = scaled(whole, fraction, scale).filter(|value| (least..=most).contains(value));
        Ok(Self { value: value.ok_or(NoRate::Bounds(unit))?, unit })
    }
}

/// The number with these digits before and behind the point times `scale`, a power of ten, if that is whole.
fn scaled(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
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
        let form = |text: &str| (text.to_owned(), NoRate::Form);
        for (text, expected) in ["", "50", "-1 bits/s", "1. kbit/s", ".5 kbit/s", "1.2.3 kbit/s", "Mbit/s"].map(form) {
            assert_eq!(text.parse::<Rate>(), Err(expected), "{text}");
        }
        for (text, near) in [
            ("50 mbit/s", Some("Mbit/s")),
            ("50 MBIT/S", Some("Mbit/s")),
            ("50 Kbit/s", Some("kbit/s")),
            ("50 gbits/s", Some("Gbits/s")),
            ("50 Packets/s", Some("packets/s")),
            ("50 packet/s", Some("packets/s")),
            ("50 Mb/s", Some("Mbit/s")),
            ("50 MB/s", None),
            ("50 Nbit/s", None),
            ("50 bts/s", Some("bits/s")),
            ("1.0001 kbit/s.", Some("kbit/s")),
            ("1e3 bits/s", None),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(NoRate::Unit(near)), "{text}");
        }
        for (text, expected) in [
            ("1.5 packets/s", "expected 1 packets/s to 100000000 packets/s, in whole packets/s"),
            ("0 packets/s", "expected 1 packets/s to 100000000 packets/s, in whole packets/s"),
            ("7 bits/s", "expected 8 bits/s to 800 Gbit/s, in whole bits/s"),
            ("801 Gbit/s", "expected 8 bits/s to 800 Gbit/s, in whole bits/s"),
            ("0 Mbit/s", "expected 8 bits/s to 800 Gbit/s, in whole bits/s"),
            ("0.00001 kbit/s", "expected 8 bits/s to 800 Gbit/s, in whole bits/s"),
            ("99999999999999999999 bits/s", "expected 8 bits/s to 800 Gbit/s, in whole bits/s"),
            ("18446744073709551615 Gbit/s", "expected 8 bits/s to 800 Gbit/s, in whole bits/s"),
            ("0 connections", "expected 1 connections to 100000000 connections, in whole connections"),
        ] {
            assert_eq!(text.parse::<Rate>().map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
        }
    }
}
