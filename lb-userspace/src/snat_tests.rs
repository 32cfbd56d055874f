//! Sweeps of flows of snat, one rule at a time.

use std::net::{IpAddr, SocketAddr};

use lb_common::abi::{Backend, Flow, FlowFlags, Forward, Service, VipKey};

use super::*;
use crate::dataplane::Capacity;
use crate::plan::BackendState;

const IDLE_S: u32 = 60;
const NOW_S: u32 = 10_000;
const SPOKE: u32 = FlowFlags::SPOKE;
const FIN: u32 = FlowFlags::FIN | FlowFlags::SPOKE;

fn ip(text: &str) -> Address {
    text.parse::<IpAddr>().expect("good").into()
}

/// Books with one service, 3, that has one backend, 7.
fn state() -> State {
    let capacity =
        Capacity { services: 8, backends: 64, tables: 18, limits: 32, flows: 64, snat_flows: 64, ..Capacity::SMALL };
    let mut state = State::new(capacity);
    let listens: SocketAddr = "10.0.0.1:8080".parse().expect("good");
    let row = Backend {
        address: ip("10.0.0.1"),
        port: 8080_u16.to_be(),
        service: 3,
        forward: Forward::SNAT,
        pool: 1,
        ..Backend::default()
    };
    let service = ServiceState {
        name: "web".into(),
        id: 3,
        head: Service::default(),
        limits: Vec::new(),
        backends: [(listens, BackendState { id: 7, name: "b".into(), row })].into(),
        slots: BTreeMap::new(),
        published: true,
    };
    let vip = Vip { address: "192.0.2.1".parse().expect("good"), port: 80, protocol: Protocol::Tcp };
    state.services.insert(vip, service);
    state
}

type Whole = ((FlowKey, Snat), (SnatReplyKey, SnatReply));

/// A client's flow with this port, that spoke so long ago.
fn flow(client: u16, port: u16, silent_s: u32, flags: (u32, u32)) -> Whole {
    let key = FlowKey::new(ip("198.51.100.1"), client.to_be_bytes(), 3);
    let snat = Snat {
        source: ip("192.0.2.5"),
        backend: 7,
        seen_s: NOW_S - silent_s,
        client: flags.0,
        port: port.to_be(),
        pool: 1,
        index: 1,
        ..Snat::default()
    };
    let backend = VipKey::new(ip("10.0.0.1"), 8080_u16.to_be_bytes(), 6);
    let reply_key = SnatReplyKey { source: snat.source, backend, port: snat.port, pad: 0 };
    let reply = SnatReply {
        client: key.client,
        service: 3,
        client_port: key.client_port,
        pad: 0,
        backend: 7,
        seen_s: snat.seen_s,
        server: flags.1,
    };
    ((key, snat), (reply_key, reply))
}

fn facts<'a>(
    flows: &'a [(FlowKey, Snat)],
    replies: &'a [(SnatReplyKey, SnatReply)],
    ports: Option<&'a [u64]>,
    cut: &'a BTreeSet<u32>,
) -> Facts<'a> {
    Facts { now_s: NOW_S, idle_s: &|_| IDLE_S, flows, replies, ports, cut }
}

fn released((flow, (reply, _)): Whole) -> Release {
    Release { flow: Some(flow), reply: Some(reply), port: Some(Port::of(&flow.1)) }
}

#[test]
fn what_has_ended_is_given_back_whole() {
    let rows = [
        (flow(1, 2000, 0, (SPOKE, SPOKE)), false),
        (flow(2, 2001, IDLE_S, (SPOKE, SPOKE)), false),
        (flow(3, 2002, IDLE_S + 1, (SPOKE, SPOKE)), true),
        (flow(4, 2003, 0, (FIN, FIN)), false),
        (flow(5, 2004, Flow::LINGER_S, (FIN, FIN)), true),
        (flow(6, 2005, Flow::LINGER_S, (FIN, SPOKE)), false),
        (flow(7, 2006, Flow::LINGER_S, (SPOKE, FlowFlags::RST)), true),
        (flow(8, 2007, Flow::HALF_OPEN_S, (0, SPOKE)), false),
        (flow(9, 2008, Flow::HALF_OPEN_S + 1, (0, SPOKE)), true),
    ];
    let flows: Vec<_> = rows.iter().map(|(whole, _)| whole.0).collect();
    let replies: Vec<_> = rows.iter().map(|(whole, _)| whole.1).collect();
    let mut snats = Snats::default();
    let releases = snats.sweep(&facts(&flows, &replies, None, &BTreeSet::new()), &state());
    let expected: Vec<Release> = rows.iter().filter(|(_, ends)| *ends).map(|(whole, _)| released(*whole)).collect();
    assert_eq!(releases, expected);
    assert_eq!((snats.flows(), &snats.living), (5, &[(7, 5)].into()));
    assert_eq!(snats.sources, [ip("192.0.2.5")].into());
}

#[test]
fn the_later_half_says_when_a_flow_spoke() {
    let (mut asked, mut answered) =
        (flow(1, 2000, IDLE_S + 9, (SPOKE, SPOKE)), flow(2, 2001, IDLE_S + 9, (SPOKE, SPOKE)));
    asked.0.1.seen_s = NOW_S;
    answered.1.1.seen_s = NOW_S;
    let mut snats = Snats::default();
    let releases =
        snats.sweep(&facts(&[asked.0, answered.0], &[asked.1, answered.1], None, &BTreeSet::new()), &state());
    assert_eq!((releases, snats.flows()), (Vec::new(), 2));
}

#[test]
fn flows_of_who_is_gone_or_cut_end() {
    let (own, mut stranger, mut other) =
        (flow(1, 2000, 0, (SPOKE, SPOKE)), flow(2, 2001, 0, (SPOKE, SPOKE)), flow(3, 2002, 0, (SPOKE, SPOKE)));
    stranger.0.0.service = 4;
    stranger.1.1.service = 4;
    other.0.1.backend = 8;
    other.1.1.backend = 8;
    let (flows, replies) = ([own.0, stranger.0, other.0], [own.1, stranger.1, other.1]);
    let sweep = |cut: &BTreeSet<u32>| Snats::default().sweep(&facts(&flows, &replies, None, cut), &state());
    assert_eq!(sweep(&BTreeSet::new()), [released(stranger), released(other)]);
    assert_eq!(sweep(&[7].into()).len(), 3);
}

#[test]
fn half_a_flow_is_believed_once() {
    let (first, second) = (flow(1, 2000, 0, (SPOKE, SPOKE)), flow(2, 2001, 0, (SPOKE, SPOKE)));
    let cut = BTreeSet::new();
    let (flows, replies) = ([first.0], [second.1]);
    let facts = facts(&flows, &replies, None, &cut);
    let mut snats = Snats::default();
    assert_eq!(snats.sweep(&facts, &state()), []);
    assert_eq!(snats.flows(), 1);
    let expected =
        [Release { reply: None, ..released(first) }, Release { reply: Some(second.1.0), ..Release::default() }];
    assert_eq!(snats.sweep(&facts, &state()), expected);
}

#[test]
fn of_two_flows_with_one_port_the_one_with_the_replies_keeps_it() {
    let (own, mut other) = (flow(1, 2000, 0, (SPOKE, SPOKE)), flow(2, 2000, 0, (SPOKE, SPOKE)));
    other.0.1.seen_s -= 1;
    let cut = BTreeSet::new();
    let (flows, replies) = ([own.0, other.0], [own.1]);
    let facts = facts(&flows, &replies, None, &cut);
    let mut snats = Snats::default();
    assert_eq!(snats.sweep(&facts, &state()), []);
    assert_eq!(snats.sweep(&facts, &state()), [Release { flow: Some(other.0), ..Release::default() }]);
}

#[test]
fn a_port_that_nobody_has_is_given_back() {
    let own = flow(1, 2000, 0, (SPOKE, SPOKE));
    let lost = Port { pool: 1, index: 1, port: 2001 };
    let state = state();
    let mut ports = vec![0_u64; 4 * 2 * PORT_WORDS as usize];
    for port in [Port::of(&own.0.1), lost, Port { pool: 3, index: 0, port: 65_535 }] {
        let [(word, bit), (summary, full)] = port.bits(state.stride()).expect("there is such a pool");
        ports[word as usize] |= bit;
        ports[summary as usize] |= full;
    }
    let cut = BTreeSet::new();
    let with = |ports| facts(std::slice::from_ref(&own.0), std::slice::from_ref(&own.1), ports, &cut);
    let mut snats = Snats::default();
    assert_eq!(snats.sweep(&with(Some(&ports)), &state), []);
    assert_eq!(snats.sweep(&with(None), &state), [], "the ports were not read again");
    let released: Vec<_> = snats.sweep(&with(Some(&ports)), &state).iter().map(|release| release.port).collect();
    assert_eq!(released, [Some(lost), Some(Port { pool: 3, index: 0, port: 65_535 })]);
}
