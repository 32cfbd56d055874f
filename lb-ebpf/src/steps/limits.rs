//! Limits.

use lb_common::abi::FlowKey;
use lb_common::bucket_table::Taken;
use lb_common::limits::{Admitted, Asker};
use lb_common::{Headers, Refusal, connections, limits};

use super::{SomeMaps, code, decode};
use crate::tables;

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn weir_admit(headers: *const Headers, asker: *const Asker) -> u64 {
    let headers = given!(headers or Admitted::pack(Err(Refusal::Malformed)));
    let asker = given!(asker or Admitted::pack(Err(Refusal::Malformed)));
    limits::admit(&SomeMaps::without_context(), headers, asker)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_ask_limit(headers: *const Headers, asker: *const Asker, id: u32) -> u64 {
    let headers = given!(headers or Admitted::pack(Err(Refusal::Malformed)));
    let asker = given!(asker or Admitted::pack(Err(Refusal::Malformed)));
    limits::ask(&SomeMaps::without_context(), headers, asker, id)
}

/// Asks one limit: [`LimitTables::ask_limit`].
#[inline(always)]
pub fn ask_limit(headers: &Headers, asker: &Asker, id: u32) -> u64 {
    weir_ask_limit(headers, asker, id)
}

/// The address as numbers: what a packet's way has just written to memory it would have to wait for.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_ask_plain(service: u32, high: u64, low: u64, bytes: u32) -> u32 {
    code(limits::all_plain(&SomeMaps::without_context(), service, [high, low], bytes))
}

/// Asks the limits of a service that has only plain ones: [`LimitTables::ask_plain`].
#[inline(always)]
pub fn ask_plain(service: u32, [high, low]: [u64; 2], bytes: u32) -> Result<(), Refusal> {
    decode(weir_ask_plain(service, high, low, bytes))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_ask_one_plain(id: u32, high: u64, low: u64, bytes: u32) -> u32 {
    code(limits::one_plain(&SomeMaps::without_context(), id, [high, low], bytes))
}

/// Asks a plain limit: [`LimitTables::ask_one_plain`].
#[inline(always)]
pub fn ask_one_plain(id: u32, [high, low]: [u64; 2], bytes: u32) -> Result<(), Refusal> {
    decode(weir_ask_one_plain(id, high, low, bytes))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_ask_source(id: u32, high: u64, low: u64, cost: u64, depth: u64) -> u32 {
    code(limits::source_plain(&SomeMaps::without_context(), id, [high, low], cost, depth))
}

/// Asks the bucket of an address: [`LimitTables::ask_source`].
#[inline(always)]
pub fn ask_source(id: u32, [high, low]: [u64; 2], cost: u64, depth: u64) -> Result<(), Refusal> {
    decode(weir_ask_source(id, high, low, cost, depth))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_change_gauge(headers: *const Headers, asker: *const Asker, id: u32, change: u32) -> u32 {
    let headers = given!(headers or code(Err(Refusal::Malformed)));
    let asker = given!(asker or code(Err(Refusal::Malformed)));
    code(connections::change(&SomeMaps::without_context(), headers, asker, id, change))
}

/// Changes how many connections a limit has: [`LimitTables::change_gauge`].
#[inline(always)]
pub fn change_gauge(headers: &Headers, asker: &Asker, id: u32, change: u32) -> Result<(), Refusal> {
    decode(weir_change_gauge(headers, asker, id, change))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn weir_note_connection(
    headers: *const Headers,
    flow: *const FlowKey,
    asker: *mut Asker,
    said: u32,
) -> u32 {
    let headers = given!(headers or code(Err(Refusal::Malformed)));
    let flow = given!(flow or code(Err(Refusal::Malformed)));
    let asker = given!(mut asker or code(Err(Refusal::Malformed)));
    code(connections::note(&SomeMaps::without_context(), headers, flow, asker, said))
}

/// The bucket's number plus one in the lower half, how it came to be its owner's in the upper one; or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weir_find_bucket(high: u64, low: u64, limit: u32, now: u64, depth: u64) -> u64 {
    match tables::own_bucket([high, low], limit, now, depth) {
        Some((index, taken)) => {
            let taken = match taken {
                Taken::Known => 0,
                Taken::Fresh => 1,
                Taken::Idle => 2,
                Taken::Busy => 3,
            };
            taken << 32 | u64::from(index) + 1
        }
        None => 0,
    }
}

/// Somebody's bucket: [`LimitTables::find_bucket`].
#[inline(always)]
pub fn find_bucket([high, low]: [u64; 2], limit: u32, now: u64, depth: u64) -> Option<(u32, Taken)> {
    let word = weir_find_bucket(high, low, limit, now, depth);
    let taken = match word >> 32 {
        0 => Taken::Known,
        1 => Taken::Fresh,
        2 => Taken::Idle,
        _ => Taken::Busy,
    };
    Some(((word as u32).checked_sub(1)?, taken))
}
