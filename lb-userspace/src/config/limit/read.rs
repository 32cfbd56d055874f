//! Limits as a file has them.

use toml::de::DeValue;

use super::rate::{NoRate, UNITS, near_unit, unit_named};
use super::{
    DIRECTIONS, Direction, Limit, MAX_LIMITS, OVERS, Over, PERS, Per, Rate, SHARES, Unit, Wrong, check_together,
};
use crate::config::document::quoted;
use crate::config::table::{Found, Table, describe};
use crate::config::{Forward, one_of};
use crate::vip::Vip;

/// The keys of a limit.
pub(crate) const LIMIT_KEYS: [&str; 9] =
    ["per", "rate", "unit", "burst", "direction", "over", "share", "prefix_v4", "prefix_v6"];

/// Whose limits they are: how packets of it are forwarded, and its VIP.
pub(super) type Whose = (Forward, Vip);

/// Reads `limit` of a service: a table or an array of them.
pub(in crate::config) fn read(service: &mut Table<'_, '_>, whose: Option<Whose>) -> Vec<Limit> {
    let mut tables = service.tables("limit", "a table { per, rate, unit, burst, … } or an array of such tables", true);
    if let Some(table) = tables.get(MAX_LIMITS) {
        let text = format!("found {} limits, expected at most {MAX_LIMITS}", tables.len());
        service.problem(table.line, "limit", text);
        tables.truncate(MAX_LIMITS);
    }
    let mut limits: Vec<Limit> = Vec::with_capacity(tables.len());
    for table in tables {
        limits.extend(read_for(table, whose, &limits));
    }
    limits
}

/// Reads the table of one limit of a service that is not known yet.
pub(crate) fn read_one(table: Table<'_, '_>) -> Option<Limit> {
    read_for(table, None, &[])
}

/// Reads the table of one limit, which a service has beside these.
fn read_for(mut table: Table<'_, '_>, whose: Option<Whose>, others: &[Limit]) -> Option<Limit> {
    table.require("per", &one_of(&PERS));
    let per = read_per(&mut table);
    let (rate, rate_line) = read_rate(&mut table);
    let burst = table.integer("burst", "a positive integer; without a burst the limit is strict", 1, u64::MAX);
    let direction = table.choice("direction", &DIRECTIONS);
    let over = table.choice("over", &OVERS);
    let share = table.choice("share", &SHARES);
    let limit = per.zip(rate).map(|(per, rate)| Limit {
        per,
        rate: rate.value,
        unit: rate.unit,
        burst: burst.map(|burst| burst.value),
        direction: direction.map_or(Direction::In, |found| found.value),
        over: over.map_or(Over::Drop, |found| found.value),
        fair: share.is_some_and(|found| found.value),
    });
    let lines = [
        ("rate", rate_line),
        ("unit", rate_line),
        ("burst", burst.map(|found| found.line)),
        ("direction", direction.map(|found| found.line)),
        ("over", over.map(|found| found.line)),
        ("share", share.map(|found| found.line)),
    ];
    let checked = limit.map_or(Ok(()), |limit| {
        limit.check()?;
        whose.map_or(Ok(()), |(forward, vip)| limit.check_for(forward, &vip))?;
        // What the others have of it was told with them.
        let all: Vec<Limit> = others.iter().copied().chain([limit]).collect();
        if check_together(others).is_ok() { check_together(&all) } else { Ok(()) }
    });
    if let Err(Wrong { key, text }) = checked {
        let line = lines.iter().find(|(name, _)| *name == key).and_then(|(_, line)| *line);
        table.problem(line.unwrap_or(table.line), key, text);
    }
    table.finish();
    limit
}

fn read_per(table: &mut Table<'_, '_>) -> Option<Per> {
    let choices = PERS.map(|name| (name, name));
    let word = table.choice("per", &choices);
    let mut bits = |key, most| {
        let expected = format!("an integer from 1 to {most}");
        let found = table.integer(key, &expected, 1, most)?;
        let bits = u8::try_from(found.value).ok()?;
        match word {
            Some(Found { value: "source-prefix", .. }) | None => {}
            Some(Found { value, .. }) => {
                table.problem(
                    found.line,
                    key,
                    format!("found with per = \"{value}\", expected only with source-prefix"),
                );
            }
        }
        Some(bits)
    };
    let (v4, v6) = (bits("prefix_v4", 32), bits("prefix_v6", 128));
    match word?.value {
        "service" => Some(Per::Service),
        "source" => Some(Per::Source),
        "backend" => Some(Per::Backend),
        _ => {
            let has = (table.has("prefix_v4"), table.has("prefix_v6"));
            if has == (false, false) {
                let text = "found source-prefix alone, expected prefix_v4 and prefix_v6, or that of the VIP's family: how \
                            many first bits of a source's address say whose bucket it is";
                table.problem(word.map_or(table.line, |found| found.line), "per", text);
            }
            // One that is not there is told when the VIP is known, but what was refused was not missing.
            (has != (false, false) && has == (v4.is_some(), v6.is_some())).then_some(Per::SourcePrefix { v4, v6 })
        }
    }
}

/// What was written as a rate.
enum Written<'d> {
    Text(&'d str),
    Number(u64),
}

/// The rate, and where it stands.
fn read_rate(table: &mut Table<'_, '_>) -> (Option<Rate>, Option<usize>) {
    let has_text = table.is_string("rate");
    let unit = table.get("unit", UNITS, |value| match value.as_str() {
        Some(word) => unit_named(word).ok_or_else(|| match near_unit(word) {
            Some(near) => format!("{} (did you mean {near}?)", quoted(word)),
            None => quoted(word),
        }),
        None => Err(describe(value)),
    });
    if has_text {
        if let Some(unit) = unit {
            let text = "found beside a rate that is a text with its unit, expected only one of both";
            table.problem(unit.line, "unit", text);
        }
    } else {
        table.require("unit", UNITS);
    }
    let (own, scale) = unit.map_or((None, 1), |found| (Some(found.value.0), found.value.1));
    // Nobody knows of what it is: as many as there may be of anything.
    let (least, most) = own.unwrap_or(Unit::Bits).bounds();
    let (least, most) = (if own.is_some() { least.div_ceil(scale) } else { 1 }, most / scale);
    let expected = if has_text {
        format!("a number and its unit, such as \"50 Mbit/s\" or \"1000 packets/s\"; units are {UNITS}")
    } else {
        format!("an integer from {least} to {most}")
    };
    table.require("rate", &expected);
    let found = table.get("rate", &expected, |value| match value {
        DeValue::String(text) => Ok(Written::Text(text)),
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| (least..=most).contains(number))
            .map(Written::Number)
            .ok_or_else(|| number.to_string()),
        other => Err(describe(other)),
    });
    let line = found.as_ref().map(|found| found.line);
    let rate = found.and_then(|found| match found.value {
        // Its problem says more than that it is no rate.
        Written::Text(text) => {
            let refused = |error: NoRate| table.problem(found.line, "rate", format!("found {}, {error}", quoted(text)));
            text.parse().map_err(refused).ok()
        }
        Written::Number(number) => Some(Rate { value: number.checked_mul(scale)?, unit: own? }),
    });
    (rate, line)
}
