//! A service's limits.

use crate::Refusal;
use crate::abi::{LimitScope, SourceKey};
use crate::gcra::{self, Admission};
use crate::headers::Headers;
use crate::tables::Tables;

/// Asks every limit of the service, in their order. What an earlier limit admitted stays in its bucket when a later
/// one refuses: the packet did press on it.
#[inline(always)]
pub fn admit<T: Tables>(tables: &T, headers: &Headers, service: u32) -> Result<(), Refusal> {
    let service = tables.service(service).ok_or(Refusal::NoBackend)?;
    let now_ns = tables.now_ns();
    for id in service.limits {
        // The list ends with 0; a limit is never published before it is written.
        let Some(id) = id.checked_sub(1) else { break };
        let Some(limit) = tables.limit(id) else { break };
        let (admission, over) = if limit.scope == LimitScope::SOURCE {
            let key = SourceKey { source: headers.source.address, limit: id };
            let bucket = tables.source_bucket(&key).ok_or(Refusal::LimitTableFull)?;
            (gcra::admit(limit, &bucket, now_ns, headers.length), Refusal::OverSourceLimit)
        } else {
            let bucket = tables.service_bucket(id).ok_or(Refusal::LimitTableFull)?;
            (gcra::admit(limit, &bucket, now_ns, headers.length), Refusal::OverServiceLimit)
        };
        tables.count_limit(id, admission == Admission::Admitted);
        match admission {
            Admission::Admitted => {}
            Admission::Over => return Err(over),
            Admission::Contended => return Err(Refusal::LimitContended),
        }
    }
    Ok(())
}
