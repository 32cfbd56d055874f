//! What the packet path finds in its maps while it is measured: services of every kind, put there by the controller's own
//! planner.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use lb_common::abi::{
    Delivery, Device, DeviceFlags, Flow, FlowFlags, FlowKey, Limit, LimitFlags, LimitScope, Settings, Slot, Table, Tags,
};
use lb_common::gcra::TICKS_PER_NS;
use lb_common::{Address, hash};
use weir::config::Forward;
use weir::dataplane::kernel::{Flows, Kernel, Object};
use weir::dataplane::{Capacity, DataPlane, Op};
use weir::desired::{Desired, DesiredBackend, DesiredService, Way};
use weir::plan::{State, plan};
use weir::vip::{Protocol, Vip};

/// Where frames come in: the loopback device, as `BPF_PROG_TEST_RUN` has it; and where they are sent from.
const INGRESS: u32 = 1;

/// Slots of a table: the default.
const TABLE_SIZE: u32 = 65_537;

/// Backends of every service.
const BACKENDS: u32 = 100;

/// The largest number of flows that are remembered.
pub(super) const MAX_FLOWS: u32 = 1 << 20;

const CAPACITY: Capacity = Capacity {
    services: 64,
    backends: 8192,
    table_size: TABLE_SIZE,
    tables: 66,
    limits: 16,
    sources: 1 << 17,
    flows: MAX_FLOWS * 5 / 4,
    replies: 1 << 16,
    devices: 16,
    addresses: 256,
    snat_flows: 1 << 17,
    snat_pools: 256,
    snat_stride: 2,
    fragments: 64,
    quic_servers: 64,
    paths: 8192,
};

/// How a service is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limited {
    No,
    Service,
    Source,
}

/// What makes a service another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub v4: bool,
    pub protocol: Protocol,
    pub forward: Forward,
    pub limited: Limited,
    /// How many of a hundred slots hand over.
    pub moving: u32,
}

/// The maps, and the harness.
pub(super) struct World {
    pub object: Object,
    kernel: Kernel,
    state: State,
    desired: Desired,
    vips: BTreeMap<Kind, Vip>,
    /// The flow table, which `kernel` has too.
    flows: Flows,
}

impl World {
    /// With services of these kinds. In a network namespace of this thread's own.
    pub(super) fn new(kinds: &[Kind]) -> Result<Self> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
            .context("a network namespace of its own needs root")?;
        let mut object = Object::load(CAPACITY, false)?;
        let flows = Flows::new(&object, CAPACITY)?;
        let kernel = Kernel::new(&mut object, CAPACITY)?;
        let mut desired = desired();
        let mut vips = BTreeMap::new();
        for (n, kind) in (1..).zip(kinds) {
            let (vip, service) = service(n, kind)?;
            vips.insert(*kind, vip);
            desired.services.insert(vip, service);
        }
        for vip in vips.values() {
            desired.addresses.insert(vip.address.into(), lb_common::abi::AddressFlags::VIP);
        }
        let mut world = Self { object, kernel, state: State::new(CAPACITY), desired, vips, flows };
        world.reconcile()?;
        for kind in kinds.iter().filter(|kind| kind.moving > 0) {
            world.hand_over(kind)?;
        }
        Ok(world)
    }

    /// What was refused so far, and how often.
    pub(super) fn refused(&self) -> String {
        let refusals = self.kernel.refusals().unwrap_or_default().into_iter().filter(|(_, packets)| *packets > 0);
        refusals.map(|(refusal, packets)| format!("{} {packets}", refusal.name())).collect::<Vec<_>>().join(", ")
    }

    /// Where a service of this kind is.
    pub(super) fn vip(&self, kind: &Kind) -> Result<Vip> {
        self.vips.get(kind).copied().with_context(|| format!("no service of {kind:?}"))
    }

    fn reconcile(&mut self) -> Result<()> {
        let Self { kernel, state, desired, .. } = self;
        for step in plan(desired, state, &|table| kernel.slots(table))? {
            kernel.apply(&step.op).with_context(|| step.op.to_string())?;
            state.record(&step);
        }
        Ok(())
    }

    /// Has slots hand over, each to its neighbour's backend.
    fn hand_over(&mut self, kind: &Kind) -> Result<()> {
        let service = self.state.services.get(&self.vips[kind]).context("it was put there")?;
        let table = Table::unpack(service.head.table);
        let slots = self.kernel.slots(table)?;
        let moving = (0..).zip(slots.iter().zip(slots.iter().skip(1))).filter(|(number, _)| number % 100 < kind.moving);
        let moved = moving
            .map(|(number, (slot, next))| (number, Slot::moving(next.current(), slot.current(), false)))
            .collect::<Arc<[_]>>();
        self.kernel.apply(&Op::WriteSlots { table, slots: moved })
    }

    /// Has the flows be remembered that packets of the bench belong to.
    pub(super) fn remember(&mut self, kind: &Kind, client: Address, flows: u32) -> Result<()> {
        let service = self.state.services.get(&self.vips[kind]).context("it was put there")?;
        let backends: Vec<u32> = service.backends.values().map(|backend| backend.id).collect();
        let len = Table::unpack(service.head.table).len;
        let mut left_out = 0;
        for (flow, backend) in (0..flows).zip(backends.iter().cycle()) {
            let (client, port) = flow_of(client, flow);
            let number = hash::slot(hash::flow(service.head.seed, client, port), len);
            if number % 100 < kind.moving {
                let flow =
                    Flow { backend: *backend, client: FlowFlags::SPOKE, server: FlowFlags::SPOKE, ..Flow::default() };
                let key = FlowKey::new(client, port, service.id);
                left_out += u32::from(!self.flows.shared().insert(&key, flow, 0));
            }
        }
        ensure!(left_out <= flows / 100, "no room for {left_out} of {flows} flows, expected one in a hundred at most");
        Ok(())
    }
}

/// The client of a flow of the harness's.
fn flow_of(first: Address, flow: u32) -> (Address, [u8; 2]) {
    let [a, b, c, d] = first.words();
    let last = u32::from_be(d).wrapping_add(flow >> 15).to_be();
    let port = 1024 + (flow & 0x7fff) as u16;
    let words = [a, b, c, last].map(u32::to_ne_bytes).concat();
    (Address::from_v6(words.try_into().expect("sixteen bytes")), port.to_be_bytes())
}

fn desired() -> Desired {
    let device = Device { flags: DeviceFlags::ATTACHED | DeviceFlags::TRANSMIT, link: INGRESS, ..Device::default() };
    let address = |text: &str| Address::from(text.parse::<IpAddr>().expect("an address"));
    let mut settings = Settings {
        tunnel_v4: address("198.18.0.1"),
        tunnel_v6: address("2001:db8:5::1"),
        gue_port: Settings::GUE_PORT.to_be(),
        stride: CAPACITY.snat_stride,
        ..Settings::default()
    };
    settings.snat_v4[0] = address("198.18.0.2");
    settings.snat_v6[0] = address("2001:db8:5::2");
    Desired {
        devices: BTreeMap::from([(INGRESS, device)]),
        settings,
        flow_limit: Some(generous(LimitScope::SERVICE)),
        error_limit: Some(generous(LimitScope::SERVICE)),
        ..Desired::default()
    }
}

/// What never refuses while the bench runs.
fn generous(scope: u8) -> Limit {
    let flags = LimitFlags::PLAIN;
    Limit { cost: TICKS_PER_NS, depth_ticks: 1 << 50, scope, flags, prefix_v4: 32, prefix_v6: 128, ..Limit::default() }
}

fn service(n: u32, kind: &Kind) -> Result<(Vip, DesiredService)> {
    let address = if kind.v4 { format!("203.0.113.{n}") } else { format!("2001:db8:f00d::{n:x}") };
    let vip = Vip { address: address.parse()?, port: 80, protocol: kind.protocol };
    let way = Way {
        delivery: Delivery::DEVICE,
        ifindex: INGRESS,
        mtu: 1500,
        mac_destination: [2, 0, 0, 0, 1, 1],
        mac_source: [2, 0, 0, 0, 1, 2],
        tags: Tags::NONE,
    };
    let backend = |i: u32| {
        let address =
            if kind.v4 { format!("10.{n}.{}.{}", i / 250, i % 250 + 1) } else { format!("fd00:{n:x}::{i:x}") };
        let listens = SocketAddr::new(address.parse()?, 8080);
        anyhow::Ok((listens, DesiredBackend::new(listens.to_string(), 1, kind.forward, way)))
    };
    let limits = match kind.limited {
        Limited::No => vec![],
        Limited::Service => vec![generous(LimitScope::SERVICE)],
        Limited::Source => vec![generous(LimitScope::SOURCE)],
    };
    let backends = (1..=BACKENDS).map(backend).collect::<Result<_>>()?;
    Ok((
        vip,
        DesiredService {
            name: vip.to_string(),
            seed: 42 + u64::from(n),
            limits,
            backends,
            ..DesiredService::default()
        },
    ))
}
