//! Durations as a person writes them: `30s`, `10m`, `1h30m`.

use std::time::Duration;

/// The units, from the largest, in seconds.
const UNITS: [(char, u64); 3] = [('h', 3600), ('m', 60), ('s', 1)];

/// Reads hours, minutes and seconds, in this order, each at most once: `30s`, `90m`, `1h30m`. `None` for anything
/// else, a number without a unit and fractions of a second too.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut units = UNITS.iter();
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail.chars().next()?;
        // Whatever was passed over on the way to this unit may not come any more.
        let (_, worth) = units.find(|(name, _)| *name == unit)?;
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(*worth)?)?;
        rest = tail.get(unit.len_utf8()..)?;
        if rest.is_empty() {
            return Some(Duration::from_secs(seconds));
        }
    }
}

/// A duration as [`parse_duration`] reads it; what is below a second is left out.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (unit, worth) in UNITS {
        let count = rest / worth;
        rest %= worth;
        if count > 0 {
            text += &format!("{count}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_writes_is_read() {
        for (text, expected) in
            [("30s", 30), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("1h1s", 3601), ("90m", 5400), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(expected)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "30",
            "s",
            "500ms",
            "1.5h",
            "1m1h",
            "1s1s",
            "1h ",
            " 1h",
            "1h 30m",
            "-1s",
            "+1s",
            "1d",
            "1H",
            "é",
            "1é",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn it_is_shown_as_it_is_read() {
        for text in ["30s", "10m", "1h", "1h30m", "24h", "1h1s", "0s"] {
            assert_eq!(parse_duration(text).map(show_duration).as_deref(), Some(text));
        }
        assert_eq!(show_duration(Duration::from_millis(90_999)), "1m30s");
    }
}
