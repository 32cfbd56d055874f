//! The addresses that Weir knows whatever the port, and what holds for all services.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::Address;
use lb_common::abi::{AddressFlags, MAX_SNAT, Settings, SettingsFlags};

use super::{Desired, Ground};
use crate::config::{ClosedPorts, Config};
use crate::plan::State;

/// The flags of the VIPs' addresses.
pub(super) fn addresses(config: &Config, desired: &Desired) -> BTreeMap<Address, u32> {
    let echo = if config.weir.echo { AddressFlags::ECHO } else { 0 };
    let closed = match config.weir.closed_ports {
        ClosedPorts::Pass => 0,
        ClosedPorts::Refuse => AddressFlags::CLOSED,
    };
    let mut addresses: BTreeMap<Address, u32> = BTreeMap::new();
    for vip in desired.services.keys() {
        let any = if vip.port == 0 { AddressFlags::ANY_PORT } else { 0 };
        *addresses.entry(vip.address.into()).or_default() |= AddressFlags::VIP | echo | closed | any;
    }
    addresses
}

/// What holds for all services. Addresses that flows leave from stay at the place where they are, as long as they are
/// configured: the ports of a flow are known by it.
pub fn settings(config: &Config, desired: &Desired, ground: &Ground, state: &State) -> Settings {
    let held = state.settings;
    let any = desired.services.keys().any(|vip| vip.port == 0);
    Settings {
        tunnel_v4: tunnel(config, desired, ground, state, true),
        tunnel_v6: tunnel(config, desired, ground, state, false),
        snat_v4: snat(config, &held.snat_v4, state.stride(), true),
        snat_v6: snat(config, &held.snat_v6, state.stride(), false),
        gue_port: u16::from_ne_bytes(config.weir.gue_port.to_be_bytes()),
        flags: if any { SettingsFlags::ANY_PORT } else { 0 },
        stride: state.stride(),
    }
}

/// Where tunnels of a family begin: as configured, or where the kernel's packets to the first backend would come from.
fn tunnel(config: &Config, desired: &Desired, ground: &Ground, state: &State, v4: bool) -> Address {
    let held = if v4 { state.settings.tunnel_v4 } else { state.settings.tunnel_v6 };
    if let Some(own) = config.weir.tunnel_sources.iter().find(|own| own.is_ipv4() == v4) {
        return (*own).into();
    }
    let backends = || {
        desired.services.iter().filter(|(_, service)| service.tunnels).flat_map(|(vip, service)| {
            let held = state.services.get(vip).filter(|_| service.rests).into_iter().flat_map(|held| &held.backends);
            let held = held.map(|(listens, backend)| (listens, backend.forward()));
            service.backends.iter().map(|(listens, backend)| (listens, backend.forward)).chain(held)
        })
    };
    let ends = || {
        let tunnels = backends().filter(|(listens, forward)| forward.is_tunnel() && listens.is_ipv4() == v4);
        tunnels.map(|(listens, _)| SocketAddr::ip(listens))
    };
    let routes = || ends().filter_map(|end| Some((end, ground.hops.source(&end)?)));
    // Nothing moves because another backend is the first one now.
    if routes().any(|(_, source)| Address::from(source) == held) {
        return held;
    }
    match routes().min() {
        Some((_, source)) => source.into(),
        // Whoever takes over knows of no route yet.
        None if ends().next().is_some() => held,
        None => Address::default(),
    }
}

/// The addresses of a family that flows leave from; those that are there come first.
fn snat(config: &Config, held: &[Address; MAX_SNAT], stride: u32, v4: bool) -> [Address; MAX_SNAT] {
    let configured = config.weir.snat_addresses.iter().filter(|own| own.is_ipv4() == v4);
    // More than the maps were made for count from the next start.
    let wanted: Vec<Address> = configured.take(stride as usize).map(|own| Address::from(*own)).collect();
    let mut places = [Address::default(); MAX_SNAT];
    let places_of_all = places.iter_mut().zip(held);
    for (place, held) in places_of_all.take(wanted.len()) {
        if wanted.contains(held) {
            *place = *held;
        }
    }
    for own in wanted {
        if !places.contains(&own)
            && let Some(place) = places.iter_mut().find(|place| **place == Address::default())
        {
            *place = own;
        }
    }
    places
}

impl Desired {
    /// Adds the addresses that packets to backends come from.
    pub(super) fn own_addresses(&mut self) {
        let Settings { tunnel_v4, tunnel_v6, snat_v4, snat_v6, .. } = self.settings;
        let tunnels = [tunnel_v4, tunnel_v6].into_iter().map(|own| (own, AddressFlags::TUNNEL));
        let snats = snat_v4.into_iter().chain(snat_v6).map(|own| (own, AddressFlags::SNAT));
        for (own, flag) in tunnels.chain(snats).filter(|(own, _)| *own != Address::default()) {
            *self.addresses.entry(own).or_default() |= flag;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn places(addresses: &[&str]) -> [Address; MAX_SNAT] {
        let mut places = [Address::default(); MAX_SNAT];
        for (place, address) in places.iter_mut().zip(addresses) {
            *place = address.parse::<IpAddr>().expect(address).into();
        }
        places
    }

    #[test]
    fn addresses_stay_where_flows_know_them() {
        let mut config = Config {
            path: "weir.toml".into(),
            weir: crate::config::Weir::default(),
            interfaces: Vec::new(),
            registries: BTreeMap::new(),
            services: Vec::new(),
        };
        let mut wanted = |addresses: &[&str], held: &[&str], stride| {
            config.weir.snat_addresses = addresses.iter().map(|address| address.parse().expect("good")).collect();
            snat(&config, &places(held), stride, true)
        };
        let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        assert_eq!(wanted(&[a, b, "2001:db8::1"], &[], 8), places(&[a, b]));
        assert_eq!(wanted(&[c, b, a], &[a, b], 8), places(&[a, b, c]), "the order of the file does not matter");
        assert_eq!(wanted(&[b, c], &[a, b], 8), places(&[c, b]), "another one takes the place");
        assert_eq!(wanted(&[b], &[a, b], 8), places(&[b]), "there are no gaps");
        assert_eq!(wanted(&[a, b, c], &[a], 2), places(&[a, b]), "no more than the maps have room for");
    }
}
