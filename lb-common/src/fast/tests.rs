//! The fast way and the close look, side by side on the host: every frame that can be had by changing one byte, or two fields that
//! disagree then, of a plain one.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::abi::{
    AddressFlags, Backend, Delivery, Device, FLOW_LIMIT, Forward, Limit, LimitFlags, LimitOver, LimitScope, LimitUnit,
    PathMtu, Service, Settings, Slot, Table, Tags, VipKey,
};
use crate::decide::{Scratch, closely, decide};
use crate::host::{HostFlows, HostFrame, HostTables};
use crate::parse::{TCP, UDP};
use crate::{Address, Verdict};

const DEVICE: u32 = 7;
const PORTS: std::ops::Range<u16> = 40_000..40_012;

/// What a run is about.
#[derive(Debug, Clone, Copy)]
struct Case {
    v4: bool,
    protocol: u8,
    forward: u8,
    outer_v4: bool,
    delivery: u16,
    mtu: u32,
    tagged: bool,
    told: bool,
    tunnels: bool,
    any_port: bool,
    limited: Limited,
}

/// How the service is limited. The clock stands still: what fits once into a bucket does not fit twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limited {
    No,
    /// By one limit, of so many bytes.
    Service(u64),
    /// By one for each source address, of so many bytes, with this for what is over it.
    Source(u64, u8),
    /// By one for each source and two for all, of which one only counts.
    Several,
}

fn v4(last: u8) -> Address {
    Address::from_v4([192, 0, 2, last])
}

fn v6(last: u8) -> Address {
    Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

fn address(is_v4: bool, last: u8) -> Address {
    if is_v4 { v4(last) } else { v6(last) }
}

const CLIENT: u8 = 1;
const VIP: u8 = 10;
const OTHER_VIP: u8 = 11;

fn tables(case: &Case) -> HostTables {
    let port = if case.any_port { 0 } else { 80_u16.to_be() };
    let vip = VipKey { address: address(case.v4, VIP), port, protocol: case.protocol, pad: 0 };
    let backend = |last: u8| {
        let tunnel = matches!(case.forward, Forward::IPIP | Forward::GUE);
        let row = Backend {
            address: address(if tunnel { case.outer_v4 } else { case.v4 }, last),
            port: 8080_u16.to_be(),
            delivery: case.delivery,
            ifindex: DEVICE,
            mtu: case.mtu,
            mac_destination: [2, 0, 0, 0, 1, last],
            mac_source: [2, 0, 0, 0, 2, last],
            tags: if case.tagged { Tags([u32::from_ne_bytes([0x81, 0, 0, 5]), 0]) } else { Tags::NONE },
            forward: case.forward,
            ..Backend::default()
        };
        Backend { lane: row.lane_of(), ..row }
    };
    let slots = vec![
        Slot::settled(0),
        Slot::moving(1, 0, false),
        Slot::moving(1, 0, true),
        Slot::moving(Slot::NOBODY, 0, false),
        Slot::settled(1),
        Slot::settled(Slot::NOBODY),
        Slot::moving(0, 0, false),
        Slot::settled(9),
    ];
    #[expect(clippy::cast_possible_truncation, reason = "eight")]
    let len = slots.len() as u32;
    let mut service = Service { vip, seed: 42, table: Table { base: 0, len }.pack(), ..Service::default() };
    let (mut limits, mut buckets) = (vec![Limit::default(); 8], Vec::new());
    limits[FLOW_LIMIT as usize] =
        Limit { cost: 1, depth_ticks: 1 << 60, shift: 0, unit: LimitUnit::PACKETS, ..Limit::default() };
    buckets.resize_with(8, || Cell::new(0));
    let packets = |depth_ticks| Limit { cost: 1, depth_ticks, flags: LimitFlags::PLAIN, ..Limit::default() };
    match case.limited {
        Limited::No => {}
        Limited::Service(bytes) => {
            limits[2] = Limit { unit: LimitUnit::BYTES, ..packets(bytes) };
            service.limits[0] = 3;
        }
        Limited::Source(bytes, over) => {
            let whole = Limit { scope: LimitScope::SOURCE, prefix_v4: 32, prefix_v6: 128, ..packets(bytes) };
            limits[2] = Limit { unit: LimitUnit::BYTES, over, ..whole };
            service.limits[0] = 3;
        }
        Limited::Several => {
            let source = Limit { scope: LimitScope::SOURCE, prefix_v4: 31, prefix_v6: 127, ..packets(700) };
            (limits[2], limits[3]) = (source, Limit { over: LimitOver::COUNT, ..packets(300) });
            limits[4] = packets(900);
            (service.limits[0], service.limits[1], service.limits[2]) = (3, 4, 5);
        }
    }
    let mut tables = HostTables {
        vips: [(vip, 0)].into(),
        services: vec![service],
        slots,
        backends: vec![backend(21), backend(22)],
        limits,
        service_buckets: buckets,
        flows: HostFlows::with_room(4),
        addresses: [(address(case.v4, OTHER_VIP), AddressFlags::VIP), (vip.address, AddressFlags::VIP)].into(),
        devices: [(DEVICE, Device { link: DEVICE, ..Device::default() })].into(),
        settings: Settings {
            tunnel_v4: if case.tunnels { v4(99) } else { Address::default() },
            tunnel_v6: if case.tunnels { v6(99) } else { Address::default() },
            gue_port: 6080_u16.to_be(),
            ..Settings::default()
        },
        ..HostTables::default()
    };
    if case.told {
        let far_end = tables.backends[0].address;
        tables.paths = BTreeMap::from([(far_end, PathMtu { mtu: 1300, told_s: 1000 })]).into();
    }
    if case.any_port {
        tables.addresses.insert(vip.address, AddressFlags::VIP | AddressFlags::ANY_PORT);
    }
    tables.now_ns.set(1_000_000_000_000);
    tables
}

/// A plain packet of so many bytes of payload.
fn plain(case: &Case, port: u16, flags: u8, payload: usize) -> Vec<u8> {
    let mut frame = vec![0; 12];
    let header = if case.protocol == TCP { 20 } else { 8 };
    let length = u16::try_from(header + payload).unwrap();
    if case.v4 {
        frame.extend([0x08, 0x00, 0x45, 0x03]);
        frame.extend((length + 20).to_be_bytes());
        frame.extend([0x12, 0x34, 0x40, 0, 64, case.protocol, 0xff, 0xfe]);
        frame.extend(v4(CLIENT).v4());
        frame.extend(v4(VIP).v4());
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0x31, 0x23, 0x45]);
        frame.extend(length.to_be_bytes());
        frame.extend([case.protocol, 64]);
        frame.extend(v6(CLIENT).v6());
        frame.extend(v6(VIP).v6());
    }
    frame.extend(port.to_be_bytes());
    frame.extend(80_u16.to_be_bytes());
    if case.protocol == TCP {
        frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 1, 0xab, 0xcd, 0, 0]);
    } else {
        frame.extend(length.to_be_bytes());
        frame.extend([0xab, 0xcd]);
    }
    frame.extend((0..payload).map(|at| at.to_le_bytes()[0]));
    frame
}

/// Both, with the same tables.
struct Pair {
    case: Case,
    fast: HostTables,
    slow: HostTables,
    /// How many frames were transmitted.
    sent: u64,
    frames: u64,
    /// What differed, by what it was.
    found: std::collections::BTreeMap<&'static str, (u64, String)>,
}

impl Pair {
    fn new(case: Case) -> Self {
        let (fast, slow) = (tables(&case), tables(&case));
        Self { case, fast, slow, sent: 0, frames: 0, found: std::collections::BTreeMap::new() }
    }

    fn note(&mut self, what: &'static str, said: String) {
        let found = self.found.entry(what).or_insert((0, said));
        found.0 += 1;
    }

    fn send(&mut self, frame: &[u8]) {
        let (mut fast, mut slow) = (HostFrame::new(frame), HostFrame::new(frame));
        let verdicts = (
            decide(&mut fast, &self.fast, &mut Scratch::default(), 1),
            closely(&mut slow, &self.slow, &mut Scratch::default(), 1, false),
        );
        self.frames += 1;
        self.sent += u64::from(matches!(verdicts.1, Verdict::Transmit { .. }));
        let what = format!("{:?}\n{frame:02x?}\n{verdicts:?}", self.case);
        if verdicts.0 != verdicts.1 {
            self.note("verdict", what.clone());
        }
        if fast.bytes() != slow.bytes() {
            self.note("bytes", format!("{what}\n{:02x?}\n{:02x?}", fast.bytes(), slow.bytes()));
        }
        if self.fast.tally.get() != self.slow.tally.get() {
            let said = format!("{what}\n{:?}\n{:?}", self.fast.tally.get(), self.slow.tally.get());
            self.note("flow counts", said);
            self.fast.tally.set(self.slow.tally.get());
        }
        let flows = |tables: &HostTables| tables.flows.iter().collect::<BTreeMap<_, _>>();
        let (fast, slow) = (flows(&self.fast), flows(&self.slow));
        if fast != slow {
            self.note("flows", format!("{what}\n{fast:?}\n{slow:?}"));
        }
        let counters = |tables: &HostTables| {
            (
                tables.refusals.borrow().clone(),
                tables.backend_traffic.borrow().clone(),
                tables.service_traffic.borrow().clone(),
                tables.limit_counts.borrow().clone(),
            )
        };
        if counters(&self.fast) != counters(&self.slow) {
            self.note("counters", what.clone());
            self.fast.refusals.replace(self.slow.refusals.borrow().clone());
            self.fast.backend_traffic.replace(self.slow.backend_traffic.borrow().clone());
            self.fast.service_traffic.replace(self.slow.service_traffic.borrow().clone());
            self.fast.limit_counts.replace(self.slow.limit_counts.borrow().clone());
        }
        if self.fast.replies != self.slow.replies || self.fast.stamps != self.slow.stamps {
            self.note("replies or stamps", what);
        }
    }

    /// Every frame of this case.
    fn all(&mut self) {
        let flags: &[u8] = if self.case.protocol == TCP { &[0x02, 0x10, 0x11, 0x14] } else { &[0] };
        for port in PORTS {
            for &flags in flags {
                for payload in [0, 1, 500, 557, 1212, 1432, 1472] {
                    self.send(&plain(&self.case, port, flags, payload));
                }
                let frame = plain(&self.case, port, flags, 4);
                let ttl = if self.case.v4 { 22 } else { 21 };
                for hops in 0..4 {
                    let mut frame = frame.clone();
                    frame[ttl] = hops;
                    self.send(&frame);
                }
            }
        }
        let flags = if self.case.protocol == TCP { 0x10 } else { 0 };
        // What a frame looks like and where it goes have little to do with each other: once is enough for the many.
        if self.case.delivery != Delivery::DEVICE || self.case.mtu != 1500 || self.case.tagged || !self.case.tunnels {
            return;
        }
        for port in [40_000, 40_001] {
            let frame = plain(&self.case, port, flags, 4);
            for length in 14..=frame.len() {
                self.send(&frame[..length]);
            }
            for at in 0..frame.len() {
                for value in 0..=u8::MAX {
                    if value.count_ones() < 2 || value == u8::MAX {
                        let mut frame = frame.clone();
                        frame[at] = value;
                        self.send(&frame);
                        // Padded, too.
                        frame.resize(frame.len() + 6, 0);
                        self.send(&frame);
                    }
                }
            }
            self.addresses(&frame);
            // Checksums at their edges.
            for checksum in [0_u16, 1, 0xfeff, 0xff00, 0xfffe, 0xffff, 0xfffd, 0x00ff, 0x0100] {
                let mut frame = frame.clone();
                frame[24..26].copy_from_slice(&checksum.to_be_bytes());
                self.send(&frame);
            }
        }
    }

    fn addresses(&mut self, frame: &[u8]) {
        let (source, destination, len) = if self.case.v4 { (26, 30, 4) } else { (22, 38, 16) };
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2];
        for at in [source, destination] {
            let mut all: Vec<Vec<u8>> = Vec::new();
            for last in [CLIENT, VIP, OTHER_VIP, 21, 22, 99, 77] {
                let one = address(self.case.v4, last);
                all.push(if self.case.v4 { one.v4().to_vec() } else { one.v6().to_vec() });
                if !self.case.v4 {
                    all.push([&mapped[..], &[last]].concat());
                }
            }
            for byte in [0, 0xff, 127, 224] {
                all.push(vec![byte; len]);
            }
            for start in
                [[0xfe, 0x80], [0xfe, 0xbf], [0xfe, 0x7f], [0xfe, 0xc0], [0xff, 2], [0, 0x64], [0, 0], [0, 1], [1, 0]]
            {
                let mut one = vec![0; len];
                one[..2].copy_from_slice(&start);
                all.push(one.clone());
                one[len - 1] = 1;
                all.push(one);
            }
            for one in all {
                let mut frame = frame.to_vec();
                frame[at..at + len].copy_from_slice(&one);
                self.send(&frame);
            }
        }
    }
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for v4 in [true, false] {
        for protocol in [TCP, UDP] {
            for (forward, outer_v4) in [
                (Forward::NAT, v4),
                (Forward::SNAT, v4),
                (Forward::L2, v4),
                (Forward::IPIP, true),
                (Forward::IPIP, false),
                (Forward::GUE, true),
                (Forward::GUE, false),
            ] {
                for delivery in [Delivery::NONE, Delivery::STACK, Delivery::DEVICE, Delivery::REDIRECT, Delivery::PEER]
                {
                    for (mtu, tagged, told, tunnels, any_port, limited) in [
                        (1500, false, false, true, false, Limited::No),
                        (1500, false, true, true, false, Limited::No),
                        (576, false, false, true, false, Limited::No),
                        (1500, true, false, true, false, Limited::No),
                        (1500, false, false, false, false, Limited::No),
                        (1500, false, false, true, true, Limited::No),
                        (60, false, false, true, false, Limited::No),
                        (1500, false, false, true, false, Limited::Service(10_000)),
                        (1500, false, false, true, false, Limited::Source(10_000, LimitOver::DROP)),
                        (1500, false, false, true, false, Limited::Source(10_000, LimitOver::COUNT)),
                        // A strict one.
                        (1500, false, false, true, false, Limited::Source(0, LimitOver::DROP)),
                        (576, false, false, true, false, Limited::Several),
                    ] {
                        let case = Case {
                            v4,
                            protocol,
                            forward,
                            outer_v4,
                            delivery,
                            mtu,
                            tagged,
                            told,
                            tunnels,
                            any_port,
                            limited,
                        };
                        all.push(case);
                    }
                }
            }
        }
    }
    all
}

#[test]
fn the_fast_way_is_the_close_look() {
    let (mut frames, mut sent) = (0, 0);
    let mut found = std::collections::BTreeMap::<&str, (u64, String)>::new();
    for case in cases() {
        let mut pair = Pair::new(case);
        pair.all();
        frames += pair.frames;
        sent += pair.sent;
        for (what, (count, said)) in pair.found {
            found.entry(what).or_insert((0, said)).0 += count;
        }
    }
    println!("{frames} frames, {sent} of them transmitted");
    for (what, (count, said)) in &found {
        println!("== {what}: {count}\n{said}");
    }
    assert!(found.is_empty(), "{:?}", found.iter().map(|(what, (count, _))| (what, count)).collect::<Vec<_>>());
}
