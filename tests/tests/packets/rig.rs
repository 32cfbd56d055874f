//! Both builds of the packet path, with the same tables.

use lb_common::abi::Traffic;
use lb_common::decide::closely;
use lb_common::host::HostFrame;
use lb_common::refusal::{Action, Refusal};
use lb_common::{Scratch, Verdict};
use weir::dataplane::kernel::{Kernel, Object};
use weir::dataplane::{Capacity, DataPlane, Fake};
use weir::desired::Desired;
use weir::plan::{State, plan};

use crate::noted::{is_handed, without_note};
use crate::test_run::test_run;
use crate::world::{INGRESS, desired, namespace, routes};

const CAPACITY: Capacity = Capacity {
    services: 32,
    backends: 64,
    table_size: 251,
    tables: 66,
    limits: 16,
    sources: 4096,
    flows: 4096,
    replies: 4096,
    devices: 16,
    addresses: 64,
    snat_flows: 64,
    snat_pools: 4,
    snat_stride: 2,
    fragments: 64,
    quic_servers: 64,
    paths: 64,
};

/// What became of a frame: the XDP action, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass(Vec<u8>),
    Drop,
    Transmit(Vec<u8>),
    Redirect(Vec<u8>),
}

/// The host build and the kernel, side by side.
pub(crate) struct Rig {
    fake: Fake,
    kernel: Kernel,
    object: Object,
    state: State,
    desired: Desired,
}

impl Rig {
    /// In a network namespace of this thread's own.
    pub(crate) fn new() -> Self {
        let front = namespace();
        let mut object = Object::load(CAPACITY, false).unwrap_or_else(|error| panic!("{error:?}"));
        let kernel = Kernel::new(&mut object, CAPACITY).expect("the maps");
        let mut fake = Fake::new(CAPACITY);
        fake.tables.routes = routes(front);
        // Limits are in buckets that were never used: any time will do, if it is not the very first.
        fake.tables.now_ns.set(1 << 40);
        let mut rig = Self { fake, kernel, object, state: State::new(CAPACITY), desired: desired(7, front) };
        rig.reconcile();
        rig
    }

    /// Has both hold what is desired.
    fn reconcile(&mut self) {
        for step in plan(&self.desired, &self.state, &|table| self.fake.slots(table)).expect("there is room") {
            self.kernel.apply(&step.op).unwrap_or_else(|error| panic!("{}: {error:?}", step.op));
            self.fake.apply(&step.op).unwrap_or_else(|error| panic!("{}: {error:?}", step.op));
            self.state.record(&step);
        }
    }

    /// Takes a service away, by its name.
    pub(crate) fn remove(&mut self, service: &str) {
        let (vip, held) = self.desired.services.iter_mut().find(|(_, held)| held.name == service).expect("it is there");
        // Without its connections, which would keep it.
        let vip = *vip;
        held.cut = std::mem::take(&mut held.backends).into_keys().collect();
        self.reconcile();
        self.state.unswept.clear();
        self.desired.services.remove(&vip);
        self.reconcile();
    }

    pub(crate) fn send(&mut self, frame: &[u8]) -> (Fate, Option<Refusal>) {
        let host = self.through_host(frame);
        let kernel = self.through_kernel(frame);
        assert_eq!(host.0, kernel, "host (left) and kernel (right) differ on {frame:02x?}");
        assert_eq!(self.fake.refusals().unwrap(), self.kernel.refusals().unwrap(), "counters after {frame:02x?}");
        host
    }

    /// How many packets were refused for this reason.
    pub(crate) fn refused(&self, refusal: Refusal) -> u64 {
        self.fake.tables.refusals.borrow().get(&refusal).copied().unwrap_or(0)
    }

    fn through_host(&mut self, frame: &[u8]) -> (Fate, Option<Refusal>) {
        let mut packet = HostFrame::new(frame);
        // The kernel tries the fast way first: whatever it says there is held to what a close look says.
        let verdict = closely(&mut packet, &self.fake.tables, &mut Scratch::default(), INGRESS, false);
        let bytes = packet.bytes().to_vec();
        match verdict {
            Verdict::Transmit { ifindex: INGRESS, redirect: false } => (Fate::Transmit(bytes), None),
            Verdict::Transmit { .. } | Verdict::Hand { .. } => (Fate::Redirect(bytes), None),
            Verdict::Stack => (Fate::Pass(bytes), None),
            Verdict::Refused(refusal) => {
                assert_eq!(bytes, frame, "a refused frame is as it came");
                match refusal.action() {
                    Action::Pass => (Fate::Pass(bytes), Some(refusal)),
                    Action::Drop | Action::Answer => (Fate::Drop, Some(refusal)),
                }
            }
        }
    }

    fn through_kernel(&mut self, frame: &[u8]) -> Fate {
        let (action, out) = test_run(self.object.xdp().expect("loaded"), frame);
        match action {
            1 => Fate::Drop,
            2 => match without_note(out) {
                (note, out) if is_handed(note) => Fate::Redirect(out),
                (_, out) => Fate::Pass(out),
            },
            3 => Fate::Transmit(out),
            4 => Fate::Redirect(out),
            other => panic!("XDP action {other}"),
        }
    }

    /// What a service carried, by its name; asserts that both agree.
    #[track_caller]
    pub(crate) fn traffic(&self, service: &str) -> Traffic {
        let state = self.state.services.values().find(|state| state.name == service).expect("a known service");
        let mut host = self.fake.service_traffic(state.id).unwrap();
        assert_eq!(host, self.kernel.service_traffic(state.id).unwrap());
        for backend in state.backends.values() {
            let carried = self.fake.backend_traffic(backend.id).unwrap();
            assert_eq!(carried, self.kernel.backend_traffic(backend.id).unwrap());
            host += carried;
        }
        host
    }

    /// What every backend carried; asserts that both agree.
    #[track_caller]
    pub(crate) fn backend_traffic(&self) -> Vec<Traffic> {
        let ids = self.state.services.values().flat_map(|service| service.backends.values().map(|backend| backend.id));
        ids.map(|id| {
            let host = self.fake.backend_traffic(id).unwrap();
            assert_eq!(host, self.kernel.backend_traffic(id).unwrap());
            host
        })
        .collect()
    }
}

/// A row of a table: what comes in, and what becomes of it.
pub(crate) struct Row {
    pub what: &'static str,
    pub frame: Vec<u8>,
    pub fate: Fate,
    pub refusal: Option<Refusal>,
}

/// Sends every row's frame, and says which row came out otherwise.
#[track_caller]
pub(crate) fn check(rig: &mut Rig, rows: Vec<Row>) {
    for Row { what, frame, fate, refusal } in rows {
        assert_eq!(rig.send(&frame), (fate, refusal), "{what}");
    }
}
