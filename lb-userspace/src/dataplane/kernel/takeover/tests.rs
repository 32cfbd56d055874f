//! Starts that end after every single step, and the starts that come after them.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use aya::maps::{Array, Map, MapData, MapInfo, PerCpuValues};
use aya::programs::xdp::XdpMode;
use lb_common::Address;
use lb_common::abi::{
    Backend, Delivery, Flow, FlowKey, Meta, QuicKey, Service, Settings, Slot, Snat, SnatReply, SnatReplyKey, Table,
    Traffic, VipKey, map,
};
use weir_tests::lab::{BACK, FRONT, Lab};

use super::*;
use crate::config::Mode;
use crate::dataplane::Dump;
use crate::dataplane::kernel::mapped::Mapped;
use crate::dataplane::kernel::shape::SHAPES;
use crate::dataplane::kernel::{Flows, Kernel};
use crate::dataplane::{DataPlane as _, Op, Port};

pub(super) const SMALL: Capacity = Capacity::SMALL;
const LARGE: Capacity = Capacity {
    services: 16,
    backends: 64,
    tables: 24,
    limits: 65,
    flows: 4096,
    snat_pools: 8,
    snat_stride: 3,
    ..SMALL
};

/// Devices by index, and the interfaces that are configured. Beside them there is a bridge with a port.
pub(super) struct Host {
    pub(super) lab: Lab,
    devices: BTreeMap<u32, Device>,
    interfaces: Vec<Interface>,
}

impl Host {
    pub(super) fn new() -> Self {
        let lab = Lab::builder().clients(1).backends(1).build().unwrap();
        let interface = |name: &str, mode| Interface { name: name.to_owned(), mode, peer_has_xdp: false, line: 1 };
        let device = |name: &str| Device {
            link: 0,
            tags: lb_common::abi::Tags::NONE,
            can_scatter: false,
            name: name.to_owned(),
            can_transmit: true,
            mtu: 1500,
            ethernet: None,
            kind: None,
            is_up: true,
            bridge: None,
            has_peer_elsewhere: false,
        };
        let add = "link add name docker7 type bridge\nlink add name c0 type veth peer name c1\nlink set dev c0 master docker7\n";
        lab.weir.ip_batch(add).unwrap();
        let devices = [FRONT, BACK, "lo", "docker7", "c0"].map(|name| (lab.weir.index(name).unwrap(), device(name)));
        let mut devices = BTreeMap::from(devices);
        let bridge = lab.weir.index("docker7").unwrap();
        devices.get_mut(&bridge).unwrap().kind = Some("bridge".to_owned());
        devices.get_mut(&lab.weir.index("c0").unwrap()).unwrap().bridge = Some(bridge);
        let interfaces = vec![interface(FRONT, Mode::Native), interface(BACK, Mode::Skb)];
        Self { lab, devices, interfaces }
    }

    pub(super) fn pins(&self) -> Pins {
        Pins::open(&self.lab.state()).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// A whole start, and an end that leaves everything. Says what it found.
    pub(super) fn start(&self, wanted: Capacity, fill: bool) -> (Option<Found>, BTreeSet<u32>) {
        self.lab.weir.run(|| {
            let mut takeover = TakeOver::load(self.pins(), wanted, 7, false).unwrap_or_else(|e| panic!("{e:#}"));
            let capacity = takeover.capacity();
            let mut plane = Kernel::new(takeover.object(), capacity).unwrap();
            let adopted = takeover.adopts().map(|meta| {
                let dump = plane.dump().unwrap();
                assert_eq!(plane.snats().unwrap(), [snat()]);
                assert_eq!(plane.snat_replies().unwrap(), [snat_reply()]);
                let ports = plane.ports().unwrap();
                let set: Vec<_> = (0_u32..).zip(ports).filter(|(_, bits)| *bits != 0).collect();
                let mut expected = snat_bits(capacity.snat_stride);
                expected.sort_unstable();
                assert_eq!(set, expected);
                assert_eq!(plane.gone_traffic().unwrap().packets, plane.cpus as u64);
                Found { meta, capacity, dump, notes: takeover.notes().to_vec() }
            });
            if fill {
                contents(capacity).iter().for_each(|op| plane.apply(op).unwrap());
                plane.snats.insert(snat().0, snat().1, 0).unwrap();
                plane.snat_replies.insert(snat_reply().0, snat_reply().1, 0).unwrap();
                for (word, bits) in snat_bits(capacity.snat_stride) {
                    plane.ports.set_bits(word, bits).unwrap();
                }
                let carried = vec![Traffic { packets: 1, ..Traffic::default() }; plane.cpus];
                plane.service_traffic.set(0, PerCpuValues::try_from(carried).unwrap(), 0).unwrap();
                plane.apply(&Op::RemoveService { id: 0 }).unwrap();
            }
            let attachments = takeover.commit(self.interfaces.clone(), &self.devices, Instant::now());
            let mut attachments = attachments.unwrap_or_else(|error| panic!("{error:#}"));
            let modes: Vec<_> = attachments.rows().into_iter().map(|row| row.mode).collect();
            assert_eq!(modes, ["native", "skb"]);
            attachments.want_bridges(["docker7".to_owned()].into());
            attachments.follow(&self.devices, Instant::now());
            assert_eq!(attachments.problems().collect::<Vec<_>>(), Vec::<String>::new());
            (adopted, attachments.links())
        })
    }
}

fn backend(id: u32) -> Backend {
    let address = Address::from_v4([10, 0, 0, 1]);
    Backend { address, port: 80, delivery: Delivery::STACK, service: 1, mtu: id, ..Backend::default() }
}

fn vip() -> VipKey {
    VipKey { port: 80, protocol: 6, ..VipKey::default() }
}

/// A flow of snat, in the last pool there is for sure, from an address that is not the first.
fn snat() -> (FlowKey, Snat) {
    let snat = Snat { source: own(), backend: 15, port: 2000_u16.to_be(), pool: 3, index: 1, ..Snat::default() };
    (key(7), snat)
}

fn own() -> Address {
    Address::from_v4([192, 0, 2, 5])
}

/// What replies to it are known by.
fn snat_reply() -> (SnatReplyKey, SnatReply) {
    let key = SnatReplyKey { source: own(), backend: vip(), port: 2000_u16.to_be(), pad: 0 };
    (key, SnatReply { backend: 15, service: 3, ..SnatReply::default() })
}

/// Its port, and the word that says that others are full.
fn snat_bits(stride: u32) -> [(u32, u64); 2] {
    Port::of(&snat().1).bits(stride).unwrap()
}

/// One service with two backends, at places that are not the first; and what is around it.
fn contents(capacity: Capacity) -> Vec<Op> {
    let mut settings = Settings { stride: capacity.snat_stride, ..Settings::default() };
    settings.snat_v4[1] = own();
    let table = Table { base: 5 * SMALL.table_size, len: SMALL.table_size };
    let head = Service { vip: vip(), table: table.pack(), seed: 7, ..Service::default() };
    vec![
        Op::PutBackend { id: 9, backend: backend(9) },
        Op::PutBackend { id: 15, backend: backend(15) },
        Op::WriteTable {
            table,
            slots: (0..table.len)
                .map(|slot| if slot % 2 == 0 { 9 } else { 15 })
                .map(Slot::settled)
                .collect::<Arc<[Slot]>>(),
        },
        Op::PutService { id: 3, head },
        Op::PutVip { vip: vip(), service: 3 },
        Op::PutAddress { address: own(), flags: 16 },
        Op::PutSettings { settings: Box::new(settings) },
        Op::PutPath { address: own() },
        Op::PutQuicServer { key: QuicKey { service: 3, length: 1, ..QuicKey::default() }, backend: 9 },
        // One that is gone, and what it carried.
        Op::PutService { id: 0, head },
    ]
}

/// What a start found.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    meta: Meta,
    capacity: Capacity,
    dump: Dump,
    notes: Vec<String>,
}

fn is_whole(dump: &Dump) {
    assert_eq!(dump.vips, [(vip(), 3)].into());
    assert_eq!((dump.addresses.len(), dump.paths.len(), dump.quic.len()), (1, 1, 1));
    assert_eq!(dump.settings.snat_v4[1], own());
    assert_eq!(dump.services.keys().copied().collect::<Vec<_>>(), [3]);
    let mtus: Vec<_> = dump.backends.iter().map(|(&id, row)| (id, row.mtu, row.version % 2)).collect();
    assert_eq!(mtus, [(9, 9, 0), (15, 15, 0)]);
}

fn flows(state: &Path, set: &str) -> Flows {
    let data = |name| MapData::from_pin(state.join(set).join(name)).unwrap();
    let meta: Array<MapData, Meta> = Map::from_map_data(data(map::META)).unwrap().try_into().unwrap();
    let groups = data(map::FLOWS);
    let groups = Mapped::new(groups.fd().as_fd(), groups.info().unwrap().max_entries()).unwrap();
    Flows::of(groups, meta.get(&0, 0).unwrap().flow_seed)
}

fn key(port: u16) -> FlowKey {
    FlowKey { service: 3, client_port: port, ..FlowKey::default() }
}

/// The programs on the devices all work with the maps that are pinned as those in use.
fn work_with_the_maps_in_use(host: &Host) {
    let pins = host.pins();
    let ids = pins.ids_in_use().unwrap();
    let links = pins.links().unwrap();
    // Two on each NIC; for the bridge one more there, on its port, on itself, and on the loopback device.
    assert_eq!(links.len(), 9);
    for program in aya::programs::loaded_programs().flatten() {
        if links.iter().any(|link| link.program == program.id()) {
            let maps = program.map_ids().unwrap().unwrap();
            // One that reads nothing works with any.
            assert!(maps.is_empty() || maps.iter().any(|id| ids.contains(id)), "{maps:?} of {ids:?}");
            for map in maps.into_iter().filter(|id| !ids.contains(id)) {
                // The rest is made anew with each load.
                let info = MapInfo::from_id(map).unwrap();
                assert!(SHAPES.iter().all(|shape| shape.name != info.name_as_str().unwrap()), "{info:?}");
            }
        }
    }
    drop_as_found(pins);
}

/// Dropped before it is settled, it takes away what this process made: nothing.
fn drop_as_found(pins: Pins) {
    assert!(pins.found().is_some());
    drop(pins);
}

#[test]
fn a_start_that_ends_after_any_step_leaves_what_the_next_one_can_adopt() {
    let host = Host::new();
    let state = host.lab.state();
    let (adopted, links) = host.start(SMALL, true);
    assert_eq!(adopted, None);
    let (mut now, mut then) = (SMALL, LARGE);
    for ends_after in 0.. {
        let mut port = 1000 + u16::try_from(ends_after).unwrap() * 10;
        let mut remember = |set: &str| {
            port += 1;
            let flow = Flow { backend: 9, seen_s: 1, ..Flow::default() };
            assert!(flows(&state, set).shared().insert(&key(port), flow, 1));
            port
        };
        let mut expected = vec![remember("maps")];
        let steps = host.lab.weir.run(|| {
            let mut takeover = TakeOver::make(host.pins(), then, 7, false).unwrap_or_else(|error| panic!("{error:#}"));
            let mut steps = takeover.preparation();
            steps.extend(takeover.steps(&host.interfaces, &host.devices).unwrap());
            for step in steps.iter().take(ends_after) {
                takeover.perform(step).unwrap_or_else(|error| panic!("{step:?}: {error:#}"));
                if *step == Step::Copy {
                    // What the old program remembers while the new set is being filled.
                    expected.push(remember("maps"));
                }
            }
            // As a kill does: descriptors are closed, nothing is tidied up.
            takeover.commit_point();
            steps
        });
        if ends_after == 0 {
            println!("{steps:#?}");
            assert_eq!(steps.len(), 12);
        }
        // Whatever it was, what is pinned is whole, and the next start makes what was wanted of it.
        let (adopted, again) = host.start(then, false);
        let adopted = adopted.unwrap();
        assert_eq!(again, links, "the links are the same after a start that ended after {ends_after} steps");
        is_whole(&adopted.dump);
        assert_eq!((adopted.capacity, adopted.meta.hash_seed), (then, 7));
        work_with_the_maps_in_use(&host);
        let remembered = flows(&state, "maps");
        for port in expected {
            assert!(remembered.shared().get(&key(port)).is_some(), "flow {port} after {ends_after} steps");
        }
        assert!(!state.join("next").exists());
        if ends_after == steps.len() {
            break;
        }
        std::mem::swap(&mut now, &mut then);
    }
}

#[test]
fn what_is_in_use_is_not_cut_off() {
    let host = Host::new();
    host.start(LARGE, true);
    // Backends 9 and 15, service 3, the sixth table.
    let (adopted, _) = host.start(Capacity { services: 2, backends: 8, tables: 4, ..LARGE }, false);
    let adopted = adopted.unwrap();
    assert_eq!(adopted.capacity, Capacity { services: 4, backends: 16, tables: 6, ..LARGE });
    assert_eq!(adopted.notes.len(), 3, "{:?}", adopted.notes);
    is_whole(&adopted.dump);
    let refused = host.lab.weir.run(|| TakeOver::load(host.pins(), Capacity { table_size: 509, ..LARGE }, 7, false));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("tables of 251 slots") && refused.contains("expected 509"), "{refused}");
    work_with_the_maps_in_use(&host);
}

#[test]
fn a_half_made_first_set_is_made_anew() {
    let host = Host::new();
    for steps in 0..2 {
        host.lab.weir.run(|| {
            let mut takeover = TakeOver::make(host.pins(), SMALL, 7, false).unwrap();
            for step in takeover.preparation().iter().take(steps) {
                takeover.perform(step).unwrap();
            }
            takeover.commit_point();
        });
        // Not even whole.
        let state = host.lab.state();
        if steps == 1 {
            std::fs::remove_file(state.join("next").join(map::META)).unwrap();
        }
        let pins = host.pins();
        assert_eq!(pins.found(), None);
        drop(pins);
        assert!(!state.exists(), "who only looked leaves nothing");
    }
}

#[test]
fn a_start_that_fails_leaves_the_old_programs_as_they_were() {
    let host = Host::new();
    let (_, links) = host.start(SMALL, true);
    let mut interfaces = host.interfaces.clone();
    interfaces.push(Interface { name: "other".to_owned(), mode: Mode::Native, peer_has_xdp: false, line: 1 });
    host.lab.weir.ip("link add other type veth peer name other-peer").unwrap();
    // Somebody else's, who holds it.
    let mut stranger = Object::load(SMALL, false).unwrap();
    host.lab.weir.run(|| stranger.xdp().unwrap().attach("other", XdpMode::Driver).unwrap());
    let mut devices = host.devices.clone();
    let other = host.devices.values().next().unwrap();
    devices.insert(host.lab.weir.index("other").unwrap(), Device { name: "other".to_owned(), ..other.clone() });
    let programs = || {
        let pins = host.pins();
        let programs: Vec<_> = pins.links().unwrap().iter().map(|link| (link.id, link.program)).collect();
        drop_as_found(pins);
        programs
    };
    let before = programs();
    for wanted in [SMALL, LARGE] {
        let refused = host.lab.weir.run(|| {
            let takeover = TakeOver::load(host.pins(), wanted, 7, false).unwrap();
            takeover.commit(interfaces.clone(), &devices, Instant::now()).map(drop)
        });
        let refused = refused.unwrap_err().to_string();
        let holder = format!("held by process {} (", std::process::id());
        assert!(refused.contains("XDP program to other: ") && refused.contains(&holder), "{refused}");
        assert_eq!(programs(), before);
        assert!(!host.lab.state().join("next").exists());
    }
    let (adopted, again) = host.start(SMALL, false);
    is_whole(&adopted.unwrap().dump);
    assert_eq!(again, links);
}
