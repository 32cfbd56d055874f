//! The programs with one service, whose limits are what is tested.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::Refusal;
use lb_common::abi::{self, Delivery, Device, DeviceFlags, LimitCount, Tags};
use weir::config::{Direction, Forward, Limit, Over, Per, Unit};
use weir::dataplane::kernel::{Kernel, Object};
use weir::dataplane::{Capacity, DataPlane as _};
use weir::desired::{Desired, DesiredBackend, DesiredService, Way};
use weir::limiter::compile;
use weir::plan::{State, plan};
use weir::vip::{Protocol, Vip};

use crate::frame::{PORT, VIP};

/// Where frames come in and go out: the loopback device, as `BPF_PROG_TEST_RUN` has it.
const INGRESS: u32 = 1;

/// What becomes of a frame that is refused and of one that goes on (linux/bpf.h, `enum xdp_action`).
pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_TX: u32 = 3;

/// A limit of packets or bytes that come in.
pub(crate) fn limit(per: Per, rate: u64, unit: Unit, burst: Option<u64>) -> Limit {
    Limit { per, rate, unit, burst, direction: Direction::In, over: Over::Drop, fair: false }
}

/// The programs, and the maps behind them.
pub(crate) struct Rig {
    pub(crate) object: Object,
    kernel: Kernel,
    pub(crate) limit: abi::Limit,
    id: u32,
}

impl Rig {
    /// With room for so many buckets of sources. In a network namespace of this thread's own.
    pub(crate) fn new(limit: &Limit, sources: u32) -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let capacity = Capacity { sources, limits: 8, services: 16, tables: 34, ..Capacity::SMALL };
        let mut object = Object::load(capacity, false).unwrap_or_else(|error| panic!("{error:?}"));
        let mut kernel = Kernel::new(&mut object, capacity).expect("the maps");
        let limit = compile(limit);
        let (vip, desired) = desired(limit);
        let mut state = State::new(capacity);
        for step in plan(&desired, &state, &|table| kernel.slots(table)).expect("there is room") {
            kernel.apply(&step.op).unwrap_or_else(|error| panic!("{}: {error:?}", step.op));
            state.record(&step);
        }
        let id = state.services[&vip].limits[0].id;
        Self { object, kernel, limit, id }
    }

    /// Sends a frame so many times, without copying it anew: what became of the last one.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: &[u8], times: u32) -> u32 {
        send(self.object.xdp().expect("loaded"), frame, times)
    }

    /// What the limit said.
    pub(crate) fn said(&self) -> LimitCount {
        self.kernel.limit_count(self.id).expect("a counter")
    }

    /// How many buckets somebody has.
    pub(crate) fn owned(&self) -> usize {
        self.kernel.buckets(&[self.id]).expect("the buckets").len()
    }

    /// How many packets were refused for this reason.
    pub(crate) fn refused(&self, refusal: Refusal) -> u64 {
        let refusals = self.kernel.refusals().expect("counters");
        refusals.into_iter().find_map(|(found, packets)| (found == refusal).then_some(packets)).unwrap_or(0)
    }
}

/// [`Rig::send`] for one of several threads.
#[track_caller]
pub(crate) fn send(program: &Xdp, frame: &[u8], times: u32) -> u32 {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = times;
    program.test_run(options).expect("BPF_PROG_TEST_RUN").return_value
}

/// One service by `l2`, which leaves addresses as they are: a frame that was forwarded can come again.
fn desired(limit: abi::Limit) -> (Vip, Desired) {
    let vip = Vip { address: VIP.into(), port: PORT, protocol: Protocol::Udp };
    let listens = SocketAddr::from((Ipv4Addr::new(10, 0, 1, 15), PORT));
    let way = Way {
        delivery: Delivery::DEVICE,
        ifindex: INGRESS,
        mtu: 1500,
        mac_destination: [2, 0, 0, 0, 1, 1],
        mac_source: [2, 0, 0, 0, 1, 2],
        tags: Tags::NONE,
    };
    let backend = DesiredBackend::new("b1", 1, Forward::L2, way);
    let service = DesiredService {
        name: "limited".to_owned(),
        seed: 42,
        limits: vec![limit],
        backends: BTreeMap::from([(listens, backend)]),
        ..DesiredService::default()
    };
    let device = Device { flags: DeviceFlags::ATTACHED | DeviceFlags::TRANSMIT, link: INGRESS, ..Device::default() };
    let desired = Desired {
        services: BTreeMap::from([(vip, service)]),
        devices: BTreeMap::from([(INGRESS, device)]),
        addresses: BTreeMap::from([(IpAddr::from(VIP).into(), abi::AddressFlags::VIP)]),
        ..Desired::default()
    };
    (vip, desired)
}
