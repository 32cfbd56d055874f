//! Worlds that were made up, as rows of the maps.

use lb_common::Address;
use lb_common::abi::{
    AddressFlags, Backend, Delivery, Limit, LimitFlags, LimitOver, LimitScope, LimitUnit, QuicIds, QuicKey,
    ServiceFlags, SettingsFlags, Slot, Table,
};
use weir_tests::fuzz::{self, SLOTS, World};

use crate::stage::Stage;
use crate::tables::cast;

/// Ids below are not of services' limits: those of flows and of errors.
const FIRST_LIMIT: u32 = 2;

impl Stage {
    /// A world's rows.
    pub(crate) fn of_world(world: &World, front: u32) -> Self {
        let mut stage = Self::new(front);
        for service in &world.services {
            let address = Address::from(service.vip);
            let flags = stage.addresses.entry(address).or_default();
            *flags |= AddressFlags::VIP;
            if service.port == 0 {
                *flags |= AddressFlags::ANY_PORT;
                stage.settings.flags |= SettingsFlags::ANY_PORT;
            }
            if world.echo.contains(&service.vip) {
                *flags |= AddressFlags::ECHO;
            }
            if world.closed.contains(&service.vip) {
                *flags |= AddressFlags::CLOSED;
            }
            stage.add_made_up(service);
        }
        stage
    }

    fn add_made_up(&mut self, of: &fuzz::Service) {
        let name = format!("{}:{}/{}", of.vip, of.port, of.protocol);
        let id = self.service(&name, of.vip.into(), of.port, of.protocol);
        let rows: Vec<Backend> = of.backends.iter().map(|backend| self.made_up(backend)).collect();
        #[expect(clippy::cast_possible_truncation, reason = "a small table")]
        let ids = if rows.is_empty() { Vec::new() } else { self.join(id, &rows, SLOTS as u32) };
        if of.census {
            self.services[id as usize].flags |= ServiceFlags::CENSUS;
        }
        if let Some((config, length)) = of.quic {
            self.services[id as usize].quic = QuicIds::new(config, length);
            for (backend, &number) in of.backends.iter().zip(&ids) {
                let mut key = QuicKey { service: id, length, ..QuicKey::default() };
                key.server_id[..backend.server_id.len()].copy_from_slice(&backend.server_id);
                self.quic_servers.insert(key, number);
            }
        }
        let base = Table::unpack(self.services[id as usize].table).base as usize;
        for &(slot, to, learning) in &of.moving {
            let current = ids.get(to).copied().unwrap_or(Slot::NOBODY);
            let old = self.slots[base + slot].current();
            self.slots[base + slot] = Slot::moving(current, old, learning);
        }
        for (place, limit) in of.limits.iter().enumerate() {
            let number = FIRST_LIMIT + u32::try_from(self.limits.len()).expect("few limits") - 2;
            let compiled = compiled(limit);
            self.limits.insert(number, compiled);
            let service = &mut self.services[id as usize];
            service.limits[place] = u16::try_from(number + 1).expect("few limits");
            let flag = |set: bool, flag: u32| if set { flag } else { 0 };
            service.flags |= flag(compiled.scope == LimitScope::BACKEND, ServiceFlags::BACKEND_LIMITS)
                | flag(limit.out, ServiceFlags::OUT_LIMITS)
                | flag(compiled.flags & LimitFlags::PLAIN == 0, ServiceFlags::CLOSE_LIMITS);
        }
    }

    fn made_up(&mut self, of: &fuzz::Backend) -> Backend {
        let forward = match of.forward {
            fuzz::Forward::Nat => cast::Forward::Nat,
            fuzz::Forward::Snat => cast::Forward::Snat,
            fuzz::Forward::L2 => cast::Forward::L2,
            fuzz::Forward::Ipip => cast::Forward::Ipip,
            fuzz::Forward::Gue => cast::Forward::Gue,
        };
        let as_in_tables = cast::Service {
            forward,
            mtu: of.mtu,
            way: if of.stack { cast::Way::Stack } else { cast::Way::Device },
            ..cast::MODES[0]
        };
        let mut row = self.backend(&as_in_tables, of.port);
        row.address = of.address.into();
        row.tags = Self::tags(&of.tags);
        if of.redirect && !of.stack {
            row.delivery = Delivery::REDIRECT;
        }
        row
    }
}

/// A limit as programs have it.
fn compiled(limit: &fuzz::Limit) -> Limit {
    let (scope, prefix_v4, prefix_v6) = match limit.per {
        fuzz::Per::Source => (LimitScope::SOURCE, 32, 128),
        fuzz::Per::Prefix(v4, v6) => (LimitScope::SOURCE, v4, v6),
        fuzz::Per::Service => (LimitScope::SERVICE, 0, 0),
        fuzz::Per::Backend => (LimitScope::BACKEND, 0, 0),
    };
    let over = match limit.over {
        fuzz::Over::Drop => LimitOver::DROP,
        fuzz::Over::Mark => LimitOver::MARK,
        fuzz::Over::Count => LimitOver::COUNT,
    };
    // One in a test's time; of marks, one that is marked and one that is not.
    let cost = if limit.one { 1 << 50 } else { 1 };
    let depth_ticks = if !limit.one {
        1 << 60
    } else if over == LimitOver::MARK {
        cost
    } else {
        0
    };
    let plain = scope != LimitScope::BACKEND && over != LimitOver::MARK && !limit.out;
    let out = if limit.out { LimitFlags::OUT } else { 0 };
    let flags = out | if plain { LimitFlags::PLAIN } else { 0 };
    Limit { cost, depth_ticks, unit: LimitUnit::PACKETS, scope, over, flags, prefix_v4, prefix_v6, ..Limit::default() }
}
