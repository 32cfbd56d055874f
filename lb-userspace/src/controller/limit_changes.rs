//! What becomes of limits when another configuration is taken over, for a person: no slot moves by it.

use crate::config::{Limit, Service};

/// How many limits become others, if any do; services are known by their VIPs.
pub(super) fn told(before: &[Service], after: &[Service]) -> Option<String> {
    let of = |services: &[Service], vip| {
        services.iter().find(|one| one.vip == vip).map(|one| one.limits.clone()).unwrap_or_default()
    };
    let gone = before.iter().filter(|old| !after.iter().any(|new| new.vip == old.vip));
    let vips = after.iter().chain(gone).map(|service| service.vip);
    let counts = vips.map(|vip| compare(of(before, vip), of(after, vip)));
    let (added, changed, removed) = counts.fold((0, 0, 0), |all, one| (all.0 + one.0, all.1 + one.1, all.2 + one.2));
    let parts = [(added, "added"), (changed, "changed"), (removed, "removed")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    (!parts.is_empty()).then(|| format!("limits: {}", parts.join(", ")))
}

/// How many are added, changed and removed. As the plan pairs them: those that are the same at all first, then those that
/// limit the same thing.
fn compare(mut before: Vec<Limit>, mut after: Vec<Limit>) -> (usize, usize, usize) {
    let mut pair = |alike: fn(&Limit, &Limit) -> bool| {
        let unpaired = after.len();
        after.retain(|new| match before.iter().position(|old| alike(old, new)) {
            Some(at) => {
                before.remove(at);
                false
            }
            None => true,
        });
        unpaired - after.len()
    };
    pair(|old, new| old == new);
    let changed = pair(Limit::is_same);
    (after.len(), changed, before.len())
}
