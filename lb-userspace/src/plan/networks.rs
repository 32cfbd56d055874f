//! From which networks a service may be used.

use lb_common::abi::{Networks, ServiceFlags};

use super::Planner;
use super::state::Entry;
use crate::dataplane::Op;
use crate::desired::DesiredService;
use crate::vip::Vip;

/// What a service's flags say of the networks that may use it.
pub(super) const fn flags(networks: u32) -> u32 {
    if networks == 0 || networks & Networks::OUTSIDE != 0 { 0 } else { ServiceFlags::INSIDE }
}

impl Planner<'_> {
    /// The networks that may use a service that is there, when they are others than they were. It is looked at closely for as
    /// long as either wants it.
    pub(super) fn networks(&mut self, vip: &Vip, desired: &DesiredService) {
        let Some((service, head)) = self.after.services.get(vip).map(|service| (service.id, service.head)) else {
            return;
        };
        let networks = desired.networks;
        if head.networks == networks {
            return;
        }
        let wanted = head.flags & !ServiceFlags::INSIDE | flags(networks);
        if wanted & !head.flags != 0 {
            self.step(Op::SetFlags { service, flags: wanted }, Entry::Flags(*vip, wanted));
        }
        self.step(Op::SetNetworks { service, networks }, Entry::Networks(*vip, networks));
        if head.flags & !wanted != 0 {
            self.step(Op::SetFlags { service, flags: wanted }, Entry::Flags(*vip, wanted));
        }
    }
}
