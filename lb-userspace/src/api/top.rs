//! Who presses hardest on limits: two readings of the same buckets, some time apart.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::host::Owned;

use super::types::TopRow;
use crate::config::{Limit, Per};

/// What was in the buckets of a service's sources at a moment.
#[derive(Debug)]
pub struct Reading {
    /// The limits, by their ids.
    pub limits: BTreeMap<u32, Limit>,
    /// The buckets.
    pub buckets: Vec<Owned>,
    /// When they were read.
    pub at: Instant,
}

impl Reading {
    /// The sources that pressed hardest since another reading: at most `count`, those first that sent the most packets. Whoever
    /// had no bucket then is not among them.
    pub fn since(self, before: Self, count: usize) -> Vec<TopRow> {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64().max(f64::MIN_POSITIVE);
        let then: HashMap<u64, (u32, u32)> =
            before.buckets.into_iter().map(|owned| (owned.tag, (owned.level.asked, owned.level.over))).collect();
        let since = |owned: &Owned| {
            let (asked, over) = then.get(&owned.tag)?;
            Some((owned.level.asked.wrapping_sub(*asked), owned.level.over.wrapping_sub(*over)))
        };
        let mut pressing: Vec<(u32, u32, Owned)> = self
            .buckets
            .into_iter()
            .filter_map(|owned| since(&owned).map(|(asked, over)| (asked, over, owned)))
            .filter(|(asked, ..)| *asked > 0)
            .collect();
        pressing.sort_unstable_by_key(|(asked, over, owned)| (u32::MAX - asked, u32::MAX - over, owned.key));
        let row = |(asked, over, owned): (u32, u32, Owned)| {
            let limit = self.limits.get(&owned.key.limit)?;
            Some(TopRow {
                source: source(limit, owned.key.who.into()),
                per: limit.per.name().to_owned(),
                direction: limit.direction.name().to_owned(),
                limit: limit.rate().to_string(),
                asked_per_s: f64::from(asked) / seconds,
                over_per_s: f64::from(over) / seconds,
            })
        };
        pressing.into_iter().filter_map(row).take(count).collect()
    }
}

/// Whose bucket it is.
fn source(limit: &Limit, address: IpAddr) -> String {
    match limit.per {
        Per::SourcePrefix { v4, v6 } => {
            let bits = if address.is_ipv4() { v4.unwrap_or(32) } else { v6.unwrap_or(128) };
            format!("{address}/{bits}")
        }
        Per::Source | Per::Service | Per::Backend => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_common::Address;
    use lb_common::abi::{BucketKey, BucketLevel};

    use super::*;
    use crate::config::Unit;

    fn owned(host: u8, asked: u32, over: u32) -> Owned {
        let key = BucketKey { who: Address::from_v4([192, 0, 2, host]), limit: 2 };
        Owned { tag: host.into(), key, level: BucketLevel { empty_at: 0, asked, over } }
    }

    #[test]
    fn who_sends_the_most_comes_first() {
        let at = Instant::now();
        let limits = BTreeMap::from([(2, Limit::strict(Per::Source, 100, Unit::Packets))]);
        let before = vec![owned(1, 5, 0), owned(2, u32::MAX, 7), owned(3, 0, 0), owned(4, 9, 9)];
        // The fifth took somebody else's bucket: what was counted in it is not its own.
        let after = vec![owned(1, 25, 10), owned(2, 99, 57), owned(3, 10, 0), owned(4, 9, 9), owned(5, 1_000, 1_000)];
        let before = Reading { limits: limits.clone(), buckets: before, at };
        let after = Reading { limits, buckets: after, at: at + Duration::from_secs(2) };
        let rows = after.since(before, 2);
        let told: Vec<_> = rows.iter().map(|row| (row.source.as_str(), row.asked_per_s, row.over_per_s)).collect();
        assert_eq!(told, [("192.0.2.2", 50.0, 25.0), ("192.0.2.1", 10.0, 5.0)]);
        assert_eq!(rows[0].limit, "100 packets/s");
    }

    #[test]
    fn a_prefix_is_shown_as_one() {
        let limit = Limit::strict(Per::SourcePrefix { v4: Some(24), v6: Some(56) }, 1, Unit::Packets);
        assert_eq!(source(&limit, "192.0.2.0".parse().expect("an address")), "192.0.2.0/24");
        assert_eq!(source(&limit, "2001:db8::".parse().expect("an address")), "2001:db8::/56");
    }
}
