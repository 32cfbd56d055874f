//! Both builds of the packet path, side by side, with the rows of a [`Stage`].

use std::collections::BTreeMap;

use aya::Pod;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use lb_common::abi::{
    Backend, BucketCell, BucketKey, Device, DeviceFlags, Endpoint, Flow, FlowKey, FragmentKey, Fragments, Limit,
    LimitCount, PORT_WORDS, PathMtu, QuicKey, ReplyKey, ReplyOwner, Service, Settings, Slot, Snat, SnatReply,
    SnatReplyKey, Stamps, Table, Tally, Traffic, VipKey, map,
};
use lb_common::host::{HostBuckets, HostFlows, SharedBuckets};
use lb_common::{Address, Refusal};
use weir::dataplane::Capacity;
use weir::dataplane::kernel::{Buckets, Flows, Index, Object};

use crate::clock;
use crate::host::{Host, Seen};
use crate::noted::{is_handed, without_note};
use crate::stage::{INGRESS, MAX_BACKENDS, MAX_FLOWS, MAX_FRAGMENTS, MAX_POOLS, MAX_SERVICES, MAX_SNATS, SLOTS, Stage};
use crate::test_run::test_run;

const CAPACITY: Capacity = Capacity {
    services: MAX_SERVICES,
    backends: MAX_BACKENDS,
    table_size: SLOTS,
    tables: MAX_SERVICES,
    limits: MAX_SERVICES,
    sources: 65_536,
    flows: MAX_FLOWS,
    replies: 65_536,
    devices: 16,
    addresses: 256,
    snat_flows: MAX_SNATS,
    snat_pools: MAX_POOLS,
    snat_stride: 1,
    fragments: MAX_FRAGMENTS,
    quic_servers: 256,
    paths: 256,
};

/// The host build and the kernel.
pub(crate) struct Both {
    pub host: Host,
    /// Frames go through the tc program, as from a port of a bridge.
    tc: bool,
    /// A second passed while a packet was on its way through both: what they remember may differ by that from now on.
    is_torn: bool,
    object: Object,
    flows: Flows,
    buckets: Buckets,
    services: usize,
    backends: usize,
    /// How many pools of ports are in use.
    pools: u32,
}

impl Both {
    /// In a network namespace whose device towards clients is `front`.
    pub(crate) fn new(stage: &Stage, front: u32) -> Self {
        let mut object = Object::load(CAPACITY, false).unwrap_or_else(|error| panic!("{error:?}"));
        put(&mut object, stage);
        let flows = Flows::new(&object, CAPACITY).unwrap_or_else(|error| panic!("{error:?}"));
        let buckets = Buckets::new(&object, CAPACITY).unwrap_or_else(|error| panic!("{error:?}"));
        let mut host = stage.host(front);
        // So that both have room for the same flows.
        host.flows = HostFlows::seeded(MAX_FLOWS, object.flow_seed());
        host.buckets = HostBuckets::seeded(CAPACITY.sources, object.flow_seed());
        let (services, backends) = (stage.services.len(), stage.backends.len());
        let pools = stage.pools.into();
        Self { host: Host::new(host), tc: false, is_torn: false, object, flows, buckets, services, backends, pools }
    }

    /// The same with the program for ports of bridges.
    pub(crate) fn with_tc(mut stage: Stage, front: u32) -> Self {
        let device = stage.devices.get_mut(&INGRESS).expect("on the stage");
        device.flags |= DeviceFlags::PORT;
        Self { tc: true, ..Self::new(&stage, front) }
    }

    /// Sends a frame through both: what became of it and under which name it was counted, or how they differ.
    ///
    /// Both read the kernel's clock: what is remembered for a while is remembered by both for as long.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<(Seen, Option<Refusal>), String> {
        let now = clock::within_a_second();
        self.host.tables.now_ns.set(now.as_nanos().try_into().expect("centuries are far away"));
        let (seen, refusal) = self.host.send(frame)?;
        let kernel = self.through_kernel(frame);
        self.is_torn |= clock::now().as_secs() != now.as_secs();
        if seen == kernel {
            Ok((seen, refusal))
        } else {
            Err(format!("the host says {refusal:?}\n  {seen:02x?}\nand the kernel\n  {kernel:02x?}"))
        }
    }

    /// Whether the host's clock and the kernel's ever showed different seconds, so that a difference says nothing.
    pub(crate) fn is_torn(&self) -> bool {
        self.is_torn
    }

    fn through_kernel(&mut self, frame: &[u8]) -> Seen {
        if self.tc {
            return self.through_tc(frame);
        }
        let (action, out) = test_run(self.object.xdp().expect("loaded"), frame);
        match action {
            1 => Seen::Drop,
            2 => match without_note(out) {
                (note, out) if is_handed(note) => Seen::Redirect(out),
                (_, out) => Seen::Pass(out),
            },
            3 => Seen::Transmit(out),
            4 => Seen::Redirect(out),
            other => panic!("XDP action {other}"),
        }
    }

    fn through_tc(&mut self, frame: &[u8]) -> Seen {
        /// `enum tcx_action_base` and `TC_ACT_REDIRECT` (linux/bpf.h, linux/pkt_cls.h).
        const NEXT: u32 = u32::MAX;
        const DROP: u32 = 2;
        const REDIRECT: u32 = 7;
        let (action, out) = test_run(self.object.ingress().unwrap_or_else(|error| panic!("{error:?}")), frame);
        match action {
            NEXT => Seen::Pass(out),
            DROP => Seen::Drop,
            // Back where it came from is a redirection, too.
            REDIRECT if out.get(..6) == frame.get(6..12) => Seen::Transmit(out),
            REDIRECT => Seen::Redirect(out),
            other => panic!("tc action {other}"),
        }
    }

    fn hash<K: Pod + Ord, V: Pod>(&mut self, name: &str) -> BTreeMap<K, V> {
        let map = self.object.ebpf().map_mut(name).expect("a map of the object");
        HashMap::<_, K, V>::try_from(map).expect("a hash").iter().collect::<Result<_, _>>().expect("entries")
    }

    fn sums<V: Pod + std::ops::AddAssign + Default>(&mut self, name: &str, count: usize) -> Vec<V> {
        let map = self.object.ebpf().map_mut(name).expect("a map of the object");
        let map = PerCpuArray::<_, V>::try_from(map).expect("counters");
        let sum = |index| {
            let mut sum = V::default();
            map.get(&index, 0).expect("a counter").iter().for_each(|one| sum += *one);
            sum
        };
        (0..u32::try_from(count).expect("few")).map(sum).collect()
    }

    fn words<V: Pod>(&mut self, name: &str, count: u32) -> Vec<V> {
        let map = self.object.ebpf().map_mut(name).expect("a map of the object");
        let map = Array::<_, V>::try_from(map).expect("an array");
        (0..count).map(|index| map.get(&index, 0).expect("an element")).collect()
    }

    /// Has the kernel's program be one that was loaded before anything was told of any path.
    pub(crate) fn forget_that_paths_were_told(&mut self) {
        let map = self.object.ebpf().map_mut(map::PATHS_SECTION).expect("a map of the object");
        Array::<_, u32>::try_from(map).expect("an array").set(0, 0, 0).expect("an element");
    }

    /// Has the first words of the ports be taken.
    pub(crate) fn fill_ports(&mut self, words: u32) {
        let map = self.object.ebpf().map_mut(map::PORTS).expect("a map of the object");
        let mut map = Array::<_, u64>::try_from(map).expect("an array");
        for (word, index) in self.host.tables.ports.iter().zip(0..words) {
            word.set(u64::MAX);
            map.set(index, u64::MAX, 0).expect("there is room");
        }
    }

    /// How the counters differ, if they do.
    pub(crate) fn compare_counters(&mut self) -> Result<(), String> {
        let refusals = self.sums::<u64>(map::REFUSALS, Refusal::ALL.len());
        let host = self.host.tables.refusals.borrow().clone();
        for (refusal, kernel) in Refusal::ALL.iter().zip(refusals) {
            let host = host.get(refusal).copied().unwrap_or(0);
            if host != kernel {
                return Err(format!("{}: the host counted {host}, the kernel {kernel}", refusal.name()));
            }
        }
        let (services, backends) = (self.services, self.backends);
        let kernel = self.sums::<Traffic>(map::SERVICE_TRAFFIC, services);
        same_by_id("traffic of services", &self.host.tables.service_traffic.borrow(), &kernel)?;
        let kernel = self.sums::<Traffic>(map::BACKEND_TRAFFIC, backends);
        same_by_id("traffic of backends", &self.host.tables.backend_traffic.borrow(), &kernel)?;
        let kernel = self.sums::<LimitCount>(map::LIMIT_COUNTS, 64);
        same_by_id("limits", &self.host.tables.limit_counts.borrow(), &kernel)?;
        let kernel = self.sums::<Tally>(map::TALLY, 1);
        same("the tally", &self.host.tables.tally.get(), &kernel[0])
    }

    /// How what is remembered differs, if it does; but for when things happened.
    pub(crate) fn compare_state(&mut self) -> Result<(), String> {
        self.compare_counters()?;
        let timeless = |flow: Flow| Flow { seen_s: 0, ..flow };
        let kernel = mapped(self.flows.shared().iter().collect(), timeless);
        same("flows", &mapped(self.host.tables.flows.iter().collect(), timeless), &kernel)?;
        let timeless = |owner: ReplyOwner| ReplyOwner { seen_s: 0, ..owner };
        let kernel = mapped(self.hash::<ReplyKey, ReplyOwner>(map::REPLIES), timeless);
        same("replies", &mapped(self.host.tables.replies.borrow().clone(), timeless), &kernel)?;
        let timeless = |snat: Snat| Snat { seen_s: 0, ..snat };
        let kernel = mapped(self.hash::<FlowKey, Snat>(map::SNATS), timeless);
        same("flows of snat", &mapped(self.host.tables.snats.borrow().clone(), timeless), &kernel)?;
        let timeless = |reply: SnatReply| SnatReply { seen_s: 0, ..reply };
        let kernel = mapped(self.hash::<SnatReplyKey, SnatReply>(map::SNAT_REPLIES), timeless);
        same("replies of snat", &mapped(self.host.tables.snat_replies.borrow().clone(), timeless), &kernel)?;
        let timeless = |mut fragments: Fragments| {
            fragments.datagram.began_s = 0;
            fragments
        };
        let kernel = mapped(self.hash::<FragmentKey, Fragments>(map::FRAGMENTS), timeless);
        same("fragments", &mapped(self.host.tables.fragments.borrow().clone(), timeless), &kernel)?;
        let timeless = |path: PathMtu| PathMtu { told_s: 0, ..path };
        let kernel = mapped(self.hash::<Address, PathMtu>(map::PATHS), timeless);
        same("paths", &mapped(self.host.tables.paths.borrow().clone(), timeless), &kernel)?;
        let kernel: Vec<FlowKey> = self.hash::<FlowKey, u32>(map::CENSUS).into_keys().collect();
        same("the census", &self.host.tables.census.borrow().iter().copied().collect(), &kernel)?;
        let owners = |shared: SharedBuckets<'_>| shared.iter().map(|owned| owned.key).collect::<Vec<BucketKey>>();
        let (kernel, host) = (owners(self.buckets.shared()), owners(self.host.tables.buckets.shared()));
        same("buckets of sources", &host, &kernel)?;
        self.compare_words()
    }

    fn compare_words(&mut self) -> Result<(), String> {
        let kernel = self.words::<u64>(map::PORTS, self.pools * PORT_WORDS);
        for (index, (host, kernel)) in self.host.tables.ports.iter().zip(kernel).enumerate() {
            same(&format!("word {index} of the ports"), &host.get(), &kernel)?;
        }
        let services = u32::try_from(self.services).expect("few");
        let kernel = self.words::<Stamps>(map::STAMPS, (services * SLOTS).div_ceil(2));
        for service in 0..services {
            let len = Table::unpack(self.host.tables.services[service as usize].table).len;
            for slot in 0..len {
                let index = service * SLOTS + slot;
                let stamped = kernel[(index / 2) as usize].0[(index % 2) as usize] != 0;
                let host = self.host.tables.stamps.borrow().contains_key(&(service, slot));
                same(&format!("the stamp of slot {slot} of service {service}"), &host, &stamped)?;
            }
        }
        Ok(())
    }
}

fn mapped<K: Ord, V>(map: BTreeMap<K, V>, change: impl Fn(V) -> V) -> BTreeMap<K, V> {
    map.into_iter().map(|(key, value)| (key, change(value))).collect()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, host: &T, kernel: &T) -> Result<(), String> {
    if host == kernel { Ok(()) } else { Err(format!("{what}: the host has {host:?}\nthe kernel {kernel:?}")) }
}

fn same_by_id<T: PartialEq + std::fmt::Debug + Default + Copy>(
    what: &str,
    host: &BTreeMap<u32, T>,
    kernel: &[T],
) -> Result<(), String> {
    (0..).zip(kernel).try_for_each(|(id, kernel)| {
        same(&format!("{what}, {id}"), &host.get(&id).copied().unwrap_or_default(), kernel)
    })
}

/// Writes the rows into the kernel's maps.
fn put(object: &mut Object, stage: &Stage) {
    fn rows<K: Pod, V: Pod>(object: &mut Object, name: &str, rows: &BTreeMap<K, V>) {
        let map = object.ebpf().map_mut(name).expect("a map of the object");
        let mut map = HashMap::<&mut MapData, K, V>::try_from(map).expect("a hash");
        rows.iter().for_each(|(key, value)| map.insert(key, value, 0).expect("there is room"));
    }
    fn elements<V: Pod>(object: &mut Object, name: &str, elements: impl IntoIterator<Item = (u32, V)>) {
        let map = object.ebpf().map_mut(name).expect("a map of the object");
        let mut map = Array::<&mut MapData, V>::try_from(map).expect("an array");
        elements.into_iter().for_each(|(index, value)| map.set(index, value, 0).expect("there is room"));
    }
    rows::<VipKey, u32>(object, map::VIPS, &stage.vips);
    rows::<VipKey, Endpoint>(object, map::ENDPOINTS, &stage.endpoints);
    rows::<Address, u32>(object, map::ADDRESSES, &stage.addresses);
    rows::<Address, PathMtu>(object, map::PATHS, &stage.paths);
    rows::<QuicKey, u32>(object, map::QUIC_SERVERS, &stage.quic_servers);
    rows::<u32, Device>(object, map::DEVICES, &stage.devices);
    elements::<Service>(object, map::SERVICES, (0..).zip(stage.services.iter().copied()));
    elements::<Slot>(object, map::SLOTS, (0..).zip(stage.slots.iter().copied()));
    elements::<Backend>(object, map::BACKENDS, (0..).zip(stage.backends.iter().copied()));
    elements::<Limit>(object, map::LIMITS, stage.limits.iter().map(|(id, limit)| (*id, *limit)));
    elements::<BucketCell>(object, map::SERVICE_BUCKETS, stage.limits.keys().map(|id| (*id, BucketCell::default())));
    elements::<Settings>(object, map::SETTINGS_SECTION, [(0, stage.settings)]);
    let told = stage.paths.values().any(|path| path.mtu != 0);
    elements::<u32>(object, map::PATHS_SECTION, [(0, told.into())]);
    let addresses = stage.addresses.keys().copied().chain(stage.endpoints.keys().map(|listens| listens.address));
    let vips = stage.vips.iter().map(|(vip, id)| (*vip, *id));
    Index::new(object, CAPACITY).and_then(|mut index| index.derive(vips, addresses)).expect("the index");
}
