//! Both builds of `weir decap`, told the same.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::Address;
use lb_common::decap::host::HostDecap;
use lb_common::decap::{Action, ClampOutcome, DecapOutcome, clamp, unwrap};
use lb_common::host::HostFrame;
use weir::decap::{Object, Sender};

use crate::frame::{GUE, OURS, OURS6};
use crate::test_run::test_run;

/// Where tunnels may come from: [`SENDER`](crate::frame::SENDER) and its like, and two prefixes.
const SENDERS: [&str; 4] = ["10.0.0.5", "fd00::5", "172.16.0.0/12", "fd00:7::/64"];

/// What tunnels carry at most.
pub(crate) const MTU: u32 = 1500;

/// What became of a frame: the XDP action, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass(Vec<u8>),
    Drop,
}

/// The host build and the kernel, side by side.
pub(crate) struct Rig {
    host: HostDecap,
    object: Object,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let senders: Vec<Sender> = SENDERS.iter().map(|sender| sender.parse().expect("a sender")).collect();
        let ours: [IpAddr; 3] = [OURS, OURS6, "10.0.1.12"].map(|address| address.parse().expect("an address"));
        let mut object = Object::load(&senders, GUE, true).unwrap_or_else(|error| panic!("{error:?}"));
        object.end_at(&ours.into()).expect("the map takes them");
        object.set_mtu(MTU).expect("the map takes it");
        let host = HostDecap {
            senders: senders.iter().map(|sender| (sender.address.into(), sender.prefix)).collect(),
            ours: ours.map(Address::from).into(),
            gue_port: GUE,
            mtu: MTU,
            ..HostDecap::default()
        };
        Self { host, object }
    }

    pub(crate) fn object(&mut self) -> &mut Object {
        &mut self.object
    }

    /// Has a frame come in.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: &[u8]) -> (Fate, DecapOutcome) {
        let (host, outcome) = self.through_host(frame);
        let kernel = self.through_kernel(frame);
        assert_eq!(host, kernel, "host (left) and kernel (right) differ on {outcome:?}, {frame:02x?}");
        self.assert_counted();
        (host, outcome)
    }

    fn through_host(&mut self, frame: &[u8]) -> (Fate, DecapOutcome) {
        let mut packet = HostFrame::new(frame);
        let outcome = unwrap(&mut packet, &self.host);
        let bytes = packet.bytes().to_vec();
        if outcome.action() != Action::Unwrap {
            assert_eq!(bytes, frame, "what is not unwrapped is as it came");
        }
        (if outcome.action() == Action::Drop { Fate::Drop } else { Fate::Pass(bytes) }, outcome)
    }

    fn through_kernel(&mut self, frame: &[u8]) -> Fate {
        let (action, out) = test_run(self.object.xdp().expect("loaded"), frame);
        match action {
            1 => Fate::Drop,
            2 => Fate::Pass(out),
            other => panic!("XDP action {other}"),
        }
    }

    /// Has a frame leave; `None` when it was not counted.
    #[track_caller]
    pub(crate) fn leave(&mut self, frame: &[u8]) -> (Vec<u8>, Option<ClampOutcome>) {
        let mut packet = HostFrame::new(frame);
        let outcome = clamp(&mut packet, &self.host);
        let host = packet.bytes().to_vec();
        let (action, kernel) = test_run(self.object.egress().expect("loaded"), frame);
        assert_eq!(action, u32::MAX, "TCX_NEXT");
        assert_eq!(host, kernel, "host (left) and kernel (right) differ on {outcome:?}, {frame:02x?}");
        self.assert_counted();
        (host, outcome)
    }

    fn assert_counted(&self) {
        let report = self.object.report("test").expect("counters");
        let rows = report.seen().map(|row| (row.name, row.packets));
        let outcomes = self.host.outcomes.borrow();
        let clamped = self.host.clamped.borrow();
        let host = outcomes.iter().map(|(outcome, packets)| (outcome.name(), *packets));
        let host = host.chain(clamped.iter().map(|(outcome, packets)| (outcome.name(), *packets)));
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), host.collect::<BTreeMap<_, _>>());
    }
}

/// A row of a table: what comes in, and what becomes of it.
pub(crate) struct Row {
    pub what: String,
    pub frame: Vec<u8>,
    pub fate: Fate,
    pub outcome: DecapOutcome,
}

/// Sends every row's frame, and says which row came out otherwise.
#[track_caller]
pub(crate) fn check(rig: &mut Rig, rows: Vec<Row>) {
    for Row { what, frame, fate, outcome } in rows {
        assert_eq!(rig.send(&frame), (fate, outcome), "{what}");
    }
}

/// A frame that passes as it came.
pub(crate) fn passes(what: &str, frame: Vec<u8>, outcome: DecapOutcome) -> Row {
    Row { what: what.to_owned(), fate: Fate::Pass(frame.clone()), frame, outcome }
}

/// A frame that is dropped.
pub(crate) fn drops(what: &str, frame: Vec<u8>, outcome: DecapOutcome) -> Row {
    Row { what: what.to_owned(), fate: Fate::Drop, frame, outcome }
}
