//! What a person ordered of backends: drains, removals, other weights. They outlive the controller, in the data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::abi::{Backend, Order, OrderFlags, OrderKey};

use crate::address::{key, show, vip_key};
use crate::desired::DesiredBackend;
use crate::vip::{Protocol, Vip};

/// All orders, by the service's VIP and where the backend listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders(BTreeMap<(Vip, SocketAddr), Order>);

/// Whose order it is.
pub type Whose = (Vip, SocketAddr);

impl Orders {
    /// Those that the data plane kept. One whose protocol is not known is left out.
    pub fn read(kept: impl IntoIterator<Item = (OrderKey, Order)>) -> Self {
        let read = |(key, order): (OrderKey, Order)| {
            let protocol = Protocol::of_number(key.vip.protocol)?;
            let vip = show(key.vip.address, key.vip.port_bytes());
            let listens = show(key.listens.address, key.listens.port_bytes());
            Some(((Vip { address: vip.ip(), port: vip.port(), protocol }, listens), order))
        };
        Self(kept.into_iter().filter_map(read).collect())
    }

    /// An order's key in the data plane.
    pub fn key((vip, listens): &Whose) -> OrderKey {
        OrderKey { vip: vip_key(vip), listens: key(listens.ip(), listens.port(), vip.protocol) }
    }

    /// The order for a backend; one without flags when there is none.
    pub fn get(&self, whose: &Whose) -> Order {
        self.0.get(whose).copied().unwrap_or_default()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Whose, &Order)> {
        self.0.iter()
    }

    /// Those for a service's backends.
    fn of(&self, vip: &Vip) -> impl Iterator<Item = (&Whose, &Order)> {
        // The first of all sockets, as they are ordered.
        let first = SocketAddr::from(([0; 4], 0));
        self.0.range((*vip, first)..).take_while(move |((of, _), _)| of == vip)
    }

    /// Notes an order, or with one without flags that there is none.
    pub fn set(&mut self, whose: Whose, order: Order) {
        if order.flags == 0 {
            self.0.remove(&whose);
        } else {
            self.0.insert(whose, order);
        }
    }

    /// Changes a service's backends as it was ordered, and says whose connections are not kept.
    pub fn carry_out(&self, vip: &Vip, backends: &mut BTreeMap<SocketAddr, DesiredBackend>) -> BTreeSet<SocketAddr> {
        let mut cut = BTreeSet::new();
        for ((_, listens), order) in self.of(vip) {
            if order.flags & OrderFlags::REMOVED != 0 {
                backends.remove(listens);
                cut.insert(*listens);
            } else if let Some(backend) = backends.get_mut(listens) {
                if order.flags & OrderFlags::WEIGHT != 0 {
                    backend.weight = u16::try_from(order.weight).unwrap_or(u16::MAX);
                    backend.share = u32::from(backend.weight) * Backend::WEIGHT_ONE;
                }
                if order.flags & OrderFlags::DRAIN != 0 {
                    backend.share = 0;
                }
            }
        }
        cut
    }
}
