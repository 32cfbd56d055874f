//! Which limit a person means, and what it becomes.

use anyhow::{Result, anyhow, bail, ensure};

use crate::api::types::LimitOrder;
use crate::config::{Limit, Over, Rate, Service, Unit, limit_unit};

/// Which limit of a service is meant.
pub(super) fn which(service: &Service, order: &LimitOrder) -> Result<usize> {
    let (name, limits) = (&service.name, &service.limits);
    ensure!(
        !limits.is_empty(),
        "found no limit of service {name:?}, expected one to change: those that it is to have are written in its configuration"
    );
    let rate = match &order.rate {
        // Of what a number alone is, the limit says.
        Some(text) if !text.bytes().all(|byte| byte.is_ascii_digit()) => Some(read_rate(text, text)?),
        _ => None,
    };
    let unit = match &order.unit {
        Some(word) => {
            let unit = limit_unit(word);
            Some(
                unit.ok_or_else(|| {
                    anyhow!("unit: found {word:?}, expected one as in the configuration, such as packets/s")
                })?
                .0,
            )
        }
        // A rate that says of what it is says also which limit is meant.
        None => rate.map(|rate| rate.unit),
    };
    let counts = |limit: &Limit| unit.is_none_or(|unit| unit == limit.unit || unit.is_bytes() && limit.unit.is_bytes());
    let is_meant = |limit: &Limit| {
        order.per.as_deref().is_none_or(|per| per == limit.per.name())
            && order.prefix_v4.is_none_or(|bits| limit.per.prefixes().0 == Some(bits))
            && order.prefix_v6.is_none_or(|bits| limit.per.prefixes().1 == Some(bits))
            && order.direction.as_deref().is_none_or(|direction| direction == limit.direction.name())
            && counts(limit)
    };
    let meant: Vec<usize> = (0..limits.len()).filter(|at| is_meant(&limits[*at])).collect();
    let shown =
        |limits: &mut dyn Iterator<Item = &Limit>| limits.map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match meant.as_slice() {
        [only] => Ok(*only),
        [] => {
            let words = [
                order.per.as_ref().map(|per| format!("per {per}")),
                order.prefix_v4.map(|bits| format!("of prefix_v4 = {bits}")),
                order.prefix_v6.map(|bits| format!("of prefix_v6 = {bits}")),
                order.direction.clone(),
                unit.map(|unit| format!("in {}", unit.name())),
            ];
            let said: Vec<String> = words.into_iter().flatten().collect();
            let fits = match rate {
                Some(rate) if !limits.iter().any(counts) => format!(": {rate} fits none"),
                _ => String::new(),
            };
            let has = shown(&mut limits.iter());
            bail!("found no limit of service {name:?} that is {}{fits}; it has: {has}", said.join(", "))
        }
        several => bail!(
            "found {} limits of service {name:?} that are meant, expected one: {}. {}",
            several.len(),
            shown(&mut several.iter().map(|at| &limits[*at])),
            if several.windows(2).all(|two| limits[two[0]].is_same(&limits[two[1]])) {
                "Nothing tells them apart here: change them in the configuration"
            } else {
                "Say which by --per, --prefix-v4, --prefix-v6, --unit and --direction"
            }
        ),
    }
}

/// The limit as it is ordered to be.
pub(super) fn changed(limit: &Limit, order: &LimitOrder) -> Result<Limit> {
    let mut limit = *limit;
    if order.rate.is_none() && order.burst.is_none() && !order.strict && order.over.is_none() {
        bail!("found nothing to change, expected a rate, a burst, strict, or what becomes of packets over the limit");
    }
    if let Some(text) = &order.rate {
        let rate = match (text.parse::<u64>(), order.unit.as_deref()) {
            (Ok(number), Some(word)) => format!("{number} {word}"),
            // Whoever wrote 80 Mbit/s does not mean 70 bits a second by 70.
            (Ok(number), None) if limit.unit == Unit::Bits => {
                bail!("rate: found {number} without a unit, expected one, such as {number} Mbit/s")
            }
            (Ok(number), None) => format!("{number} {}", limit.unit.name()),
            (Err(_), _) => text.clone(),
        };
        let rate = read_rate(text, &rate)?;
        (limit.rate, limit.unit) = (rate.value, rate.unit);
    }
    if order.strict {
        ensure!(order.burst.is_none(), "burst: found both a burst and strict, expected one of them");
        limit.burst = None;
    }
    limit.burst = order.burst.or(limit.burst);
    if let Some(word) = &order.over {
        let over = Over::named(word);
        let over = over.ok_or_else(|| anyhow!("over: found {word:?}, expected drop, mark, count or delay"))?;
        // How many wait is chosen for it; no more than one at a time is another limit than anybody had.
        ensure!(
            limit.over != Over::Delay || over == Over::Delay || limit.burst.is_some() || order.strict,
            "burst: found none with {}, expected one, or --strict: the limit was delay, of which Weir chose how much may wait; \
             without a burst it would be strict",
            over.name()
        );
        limit.over = over;
    }
    Ok(limit)
}

/// A rate, of which `found` was written.
fn read_rate(found: &str, rate: &str) -> Result<Rate> {
    rate.parse().map_err(|error| anyhow!("rate: found {found:?}, {error}"))
}
