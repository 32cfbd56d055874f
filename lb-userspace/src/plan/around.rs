//! What belongs to no single service: devices, addresses, settings, paths, server ids.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::Address;
use lb_common::abi::{AddressFlags, Backend, Device, Forward, QuicKey};

use super::leaving::Leaving;
use super::state::Entry;
use super::{Planner, State};
use crate::dataplane::Op;
use crate::desired::{Desired, DesiredService};
use crate::vip::Vip;

/// What an address is known for as long as a service listens there.
const OF_VIPS: u32 = AddressFlags::VIP | AddressFlags::ANY_PORT | AddressFlags::ECHO | AddressFlags::CLOSED;

impl Planner<'_> {
    pub(super) fn devices(&mut self, desired: &BTreeMap<u32, Device>) {
        for (&ifindex, &device) in desired {
            if self.after.devices.get(&ifindex) != Some(&device) {
                self.step(Op::PutDevice { ifindex, device }, Entry::Device(ifindex, Some(device)));
            }
        }
        let gone: Vec<u32> =
            self.after.devices.keys().filter(|ifindex| !desired.contains_key(ifindex)).copied().collect();
        for ifindex in gone {
            self.step(Op::RemoveDevice { ifindex }, Entry::Device(ifindex, None));
        }
    }

    /// What addresses are known for, when those services have left; also those that flows of snat still leave from.
    ///
    /// `whole` is the books of all services, of which the plan may be for a part: one that retires and is not in them has left
    /// with an earlier part.
    pub(super) fn addresses_of(&self, desired: &Desired, leaving: &Leaving, whole: &State) -> BTreeMap<Address, u32> {
        let stays = |(vip, service): &(&Vip, &DesiredService)| {
            !leaving.services.contains(vip) && (!service.retires || whole.services.contains_key(vip))
        };
        let stay: Vec<&Vip> = desired.services.iter().filter(stays).map(|(vip, _)| vip).collect();
        let of = |any: bool| -> BTreeSet<Address> {
            stay.iter().filter(|vip| !any || vip.port == 0).map(|vip| Address::from(vip.address)).collect()
        };
        let (vips, any) = (of(false), of(true));
        let mut addresses = desired.addresses.clone();
        for (address, flags) in &mut addresses {
            if !vips.contains(address) {
                *flags &= !OF_VIPS;
            }
            if !any.contains(address) {
                *flags &= !AddressFlags::ANY_PORT;
            }
        }
        for own in &self.after.snat_sources {
            *addresses.entry(*own).or_default() |= AddressFlags::SNAT;
        }
        addresses.retain(|_, flags| *flags != 0);
        addresses
    }

    /// Notes what addresses are known for; with `more`, what they are not known for any more stays.
    pub(super) fn addresses(&mut self, wanted: &BTreeMap<Address, u32>, more: bool) {
        let held = &self.after.addresses;
        let known = |address: &Address| held.get(address).copied().unwrap_or(0);
        let meant = |(address, flags): (&Address, &u32)| (*address, if more { flags | known(address) } else { *flags });
        let others = wanted.iter().map(meant).filter(|(address, flags)| *flags != known(address));
        let others: Vec<(Address, u32)> = others.collect();
        let gone = held.keys().filter(|address| !more && !wanted.contains_key(address));
        let gone: Vec<Address> = gone.copied().collect();
        for (address, flags) in others {
            self.step(Op::PutAddress { address, flags }, Entry::Address(address, Some(flags)));
        }
        for address in gone {
            self.step(Op::RemoveAddress { address }, Entry::Address(address, None));
        }
    }

    pub(super) fn settings(&mut self, desired: &Desired) {
        let settings = desired.settings;
        if self.after.settings != settings {
            self.step(Op::PutSettings { settings: Box::new(settings) }, Entry::Settings(settings));
        }
    }

    /// The server ids that lead to backends.
    pub(super) fn quic_servers_of(&self, desired: &Desired, leaving: &Leaving) -> BTreeMap<QuicKey, u32> {
        let mut servers = BTreeMap::new();
        let stay = |(vip, _): &(&Vip, &DesiredService)| !leaving.services.contains(vip);
        let looks = |(_, wanted): &(&Vip, &DesiredService)| wanted.quic.length() > 0;
        for (vip, wanted) in self.in_part(desired).filter(stay).filter(looks) {
            let Some(service) = self.after.services.get(vip) else { continue };
            for (listens, backend) in &wanted.backends {
                let id = backend.server_id.filter(|id| usize::from(id.length()) == wanted.quic.length());
                let stays = !leaving.backends.contains(&(*vip, *listens));
                if let (Some(id), Some(known)) = (id, service.backends.get(listens).filter(|_| stays)) {
                    // Of two with one id, the one that still takes flows.
                    let known = known.id;
                    let entry = servers.entry(id.key(service.id)).or_insert(known);
                    if !backend.lingers {
                        *entry = known;
                    }
                }
            }
        }
        servers
    }

    pub(super) fn put_quic_servers(&mut self, servers: &BTreeMap<QuicKey, u32>) {
        for (&key, &backend) in servers {
            if self.after.quic.get(&key) != Some(&backend) {
                self.step(Op::PutQuicServer { key, backend }, Entry::QuicServer(key, Some(backend)));
            }
        }
    }

    pub(super) fn quic_ids(&mut self, vip: &Vip, desired: &DesiredService) {
        let Some((service, held)) = self.after.services.get(vip).map(|service| (service.id, service.head.quic)) else {
            return;
        };
        if held != desired.quic {
            let quic = desired.quic;
            self.step(Op::SetQuicIds { service, quic }, Entry::QuicIds(*vip, quic));
        }
    }

    /// Has the path to a backend behind a tunnel learnt.
    pub(super) fn path(&mut self, row: &Backend) {
        if is_tunnel(row) && !self.after.paths.contains(&row.address) {
            self.step(Op::PutPath { address: row.address }, Entry::Path(row.address, true));
        }
    }

    /// Forgets the paths to where no tunnel leads any more.
    pub(super) fn forget_paths(&mut self, whole: &State) {
        if self.after.paths.is_empty() {
            return;
        }
        let ends = ends_of(&self.after, |_| true);
        let mut gone: BTreeSet<Address> = self.after.paths.difference(&ends).copied().collect();
        if !gone.is_empty() && self.part.scope.is_some() {
            let others = ends_of(whole, |vip| !self.part.has(vip));
            gone.retain(|address| !others.contains(address));
        }
        for address in gone {
            self.step(Op::RemovePath { address }, Entry::Path(address, false));
        }
    }
}

/// The far ends of services' tunnels.
fn ends_of(state: &State, of: impl Fn(&Vip) -> bool) -> BTreeSet<Address> {
    let rows = state.services.iter().filter(|(vip, _)| of(vip)).flat_map(|(_, service)| service.backends.values());
    rows.map(|backend| backend.row).filter(is_tunnel).map(|row| row.address).collect()
}

const fn is_tunnel(row: &Backend) -> bool {
    row.forward == Forward::IPIP || row.forward == Forward::GUE
}
