//! The table of flows.

use core::ptr::NonNull;

use lb_common::abi::{Flow, FlowGroup, FlowKey};
use lb_common::flow_table::{self, FlowHash, Spot};

use crate::flows::KernelGroup;

use super::constants;
use super::maps::{FLOW_HASH, FLOWS};

/// The number of a flow's line, counted over all groups.
#[inline(always)]
pub fn flow_number(key: &FlowKey) -> Option<u32> {
    let key = key.to_words();
    let (group, spot) = flow_group(&key)?;
    flow_table::find(&group, &spot, &key).map(|number| spot.group * FlowGroup::LINES + number)
}

/// Puts a flow into the table; see [`Tables::remember_flow`].
#[inline(always)]
pub fn put_flow(key: &FlowKey, flow: &Flow) -> bool {
    let key = key.to_words();
    flow_group(&key).is_some_and(|(group, spot)| flow_table::insert(&group, &spot, &key, flow, flow.seen_s))
}

/// Where a flow is looked for.
#[inline(always)]
pub(super) fn flow_group(key: &[u64; 3]) -> Option<(KernelGroup, Spot)> {
    let spot = FlowHash::from_words(constants(&raw const FLOW_HASH)).spot(key);
    Some((KernelGroup(NonNull::new(FLOWS.get_ptr_mut(spot.group)?)?), spot))
}
