//! How many connections there are at once, for services that limit that.
//!
//! A connection is counted from its opening packet on; of UDP from the first one. What was there before anybody counted is never
//! refused, and not counted: a packet in the midst of a connection that nobody knows may be anybody's. It ends with its client's FIN
//! or RST, which is all that is seen of one whose backend answers past this host; or, which is the controller's to see, when nothing
//! comes for the service's idle time, or nothing but what opens it for [`Flow::HALF_OPEN_S`](crate::abi::Flow::HALF_OPEN_S).

use crate::Refusal;
use crate::abi::{
    Connection, ConnectionFlags, FlowFlags, FlowKey, Limit, LimitOver, LimitScope, LimitUnit, MAX_LIMITS,
};
use crate::bucket_table::{GAUGE, LOOKUP};
use crate::gauge;
use crate::gcra::{self, Admission, Bucket};
use crate::headers::Headers;
use crate::limits::{Asker, Said, key, over};
use crate::tables::Tables;

/// What is done to the number of connections.
pub struct Change;

impl Change {
    /// One more, if the limit allows it.
    pub const TAKE: u32 = 0;
    /// One less.
    pub const GIVE_BACK: u32 = 1;
}

/// Counts the connection that a client's packet is of, or refuses it: `said` is what the packet says of it, as [`FlowFlags`].
#[inline(always)]
pub fn note<T: Tables>(
    tables: &T,
    headers: &Headers,
    flow: &FlowKey,
    asker: &mut Asker,
    said: u32,
) -> Result<(), Refusal> {
    let now_s = tables.now_s();
    let ends = said & (FlowFlags::FIN | FlowFlags::RST) != 0;
    let known = tables.connection(flow);
    if let Some((cell, backend)) = &known {
        let word = cell.load();
        let (seen_s, flags) = Connection::of_word(word);
        if flags & ConnectionFlags::ENDED == 0 {
            if ends {
                // Whoever sees the end first gives back, and nobody else.
                if cell.compare_exchange(word, Connection::word(now_s, ConnectionFlags::ENDED)) == word {
                    asker.backend = *backend;
                    give_back(tables, headers, asker, MAX_LIMITS);
                }
            } else {
                let now = Connection::word(now_s, flags | spoke(headers));
                if now != Connection::word(seen_s, flags) {
                    cell.compare_exchange(word, now);
                }
            }
            return Ok(());
        }
    }
    // What follows an end, or nobody knows.
    if !headers.opens && headers.has_openings() {
        return Ok(());
    }
    take(tables, headers, asker)?;
    let counted = match &known {
        // Its backend is another one now.
        Some((_, backend)) if *backend != asker.backend => {
            tables.forget_connection(flow);
            remember(tables, headers, flow, asker, now_s)
        }
        Some((cell, _)) => {
            let word = cell.load();
            let (_, flags) = Connection::of_word(word);
            flags & ConnectionFlags::ENDED != 0 && cell.compare_exchange(word, Connection::word(now_s, 0)) == word
        }
        None => remember(tables, headers, flow, asker, now_s),
    };
    if counted {
        return Ok(());
    }
    give_back(tables, headers, asker, MAX_LIMITS);
    // Another CPU had a packet of the same connection; or there is no room.
    if tables.connection(flow).is_some() { Ok(()) } else { Err(Refusal::LimitTableFull) }
}

/// What a packet of a connection says of its client.
#[inline(always)]
const fn spoke(headers: &Headers) -> u32 {
    if headers.opens { 0 } else { ConnectionFlags::SPOKE }
}

#[inline(always)]
fn remember<T: Tables>(tables: &T, headers: &Headers, flow: &FlowKey, asker: &Asker, now_s: u32) -> bool {
    let new = Connection { seen_s: now_s, flags: spoke(headers), backend: asker.backend, pad: 0 };
    tables.remember_connection(flow, &new)
}

/// Takes one of every limit of connections, or none.
#[inline(always)]
fn take<T: Tables>(tables: &T, headers: &Headers, asker: &Asker) -> Result<(), Refusal> {
    let service = tables.service(asker.service).ok_or(Refusal::NoBackend)?;
    let mut at = 0;
    while at < MAX_LIMITS {
        let Some(id) = service.limits[at].checked_sub(1) else { break };
        if let Err(refusal) = tables.change_gauge(headers, asker, id.into(), Change::TAKE) {
            give_back(tables, headers, asker, at);
            return Err(refusal);
        }
        at += 1;
    }
    Ok(())
}

/// Gives one back to each of the first limits of connections.
#[inline(always)]
fn give_back<T: Tables>(tables: &T, headers: &Headers, asker: &Asker, limits: usize) {
    let Some(service) = tables.service(asker.service) else { return };
    let mut at = 0;
    while at < limits && at < MAX_LIMITS {
        let Some(id) = service.limits[at].checked_sub(1) else { break };
        // It never fails: what is given back is not refused.
        if tables.change_gauge(headers, asker, id.into(), Change::GIVE_BACK).is_err() {
            return;
        }
        at += 1;
    }
}

/// Changes how many connections one limit has; nothing of a limit of something else.
#[inline(always)]
pub fn change<T: Tables>(tables: &T, headers: &Headers, asker: &Asker, id: u32, change: u32) -> Result<(), Refusal> {
    let Some(limit) = tables.limit(id).filter(|limit| limit.unit == LimitUnit::CONNECTIONS) else { return Ok(()) };
    if limit.scope == LimitScope::SERVICE {
        let bucket = tables.service_bucket(id).ok_or(Refusal::LimitTableFull)?;
        return changed(tables, limit, &bucket, id, change);
    }
    let wanted = if change == Change::GIVE_BACK { LOOKUP } else { GAUGE };
    let who = key(limit, headers, asker, id).who.halves();
    if let Some(bucket) = tables.known_bucket(who, id) {
        return changed(tables, limit, &bucket, id, change);
    }
    match tables.find_bucket(who, id, gcra::ticks(tables.now_ns()), wanted) {
        Some((bucket, _)) => changed(tables, limit, &bucket, id, change),
        None if change == Change::GIVE_BACK => Ok(()),
        None => Err(Refusal::LimitTableFull),
    }
}

#[inline(always)]
fn changed<T: Tables>(tables: &T, limit: &Limit, bucket: &impl Bucket, id: u32, change: u32) -> Result<(), Refusal> {
    if change == Change::GIVE_BACK {
        gauge::give_back(bucket);
        return Ok(());
    }
    let free = limit.over == LimitOver::COUNT;
    let (said, answer) = match gauge::take(bucket, if free { u64::MAX } else { limit.depth_ticks }) {
        Admission::Admitted(count) if count >= limit.depth_ticks && free => (Said::WouldDrop, Ok(())),
        Admission::Admitted(_) => (Said::Admitted, Ok(())),
        Admission::Over => (Said::Over, Err(over(limit))),
        Admission::Contended => (Said::Over, Err(Refusal::LimitContended)),
    };
    tables.count_limit(id, said);
    answer
}
