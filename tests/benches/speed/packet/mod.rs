//! (1) Nanoseconds a packet, in the kernel.

mod driver;
mod frame;
mod world;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use weir::config::Forward;
use weir::vip::{Protocol, Vip};

use crate::context::Context;
use crate::report::{Column, Plot, Report, Row, Samples, Table, Target};
use driver::{Packets, Subject, XDP_DROP, XDP_PASS, XDP_TX};
use world::{Kind, Limited, World};

const M: u32 = 1 << 20;
const K64: u32 = 1 << 16;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// TCP that is neither the first packet nor the last.
    Established,
    /// A SYN.
    Syn,
    Udp,
    /// To an address that nobody knows.
    Stranger,
    /// To a service, from an address that no client has.
    Refused,
    /// As `Established`, and the clock is read, as limits do.
    Clock,
}

/// One figure of the table.
#[derive(Debug, Clone, Copy)]
struct Cell {
    name: &'static str,
    what: What,
    kind: Kind,
    flows: u32,
    target: Option<f64>,
    /// Whether the regression gate holds it.
    gated: bool,
}

const fn kind(v4: bool, protocol: Protocol, forward: Forward) -> Kind {
    Kind { v4, protocol, forward, limited: Limited::No, moving: 0 }
}

const TCP4: Kind = kind(true, Protocol::Tcp, Forward::Ipip);
const TCP6: Kind = kind(false, Protocol::Tcp, Forward::Ipip);
const UDP4: Kind = kind(true, Protocol::Udp, Forward::Ipip);
const UDP6: Kind = kind(false, Protocol::Udp, Forward::Ipip);

const fn cell(name: &'static str, what: What, kind: Kind, flows: u32, target: Option<f64>) -> Cell {
    Cell { name, what, kind, flows, target, gated: false }
}

/// The sensible ones. Targets are in nanoseconds over the floor of the same run.
fn cells() -> Vec<Cell> {
    use What::{Clock, Established, Refused, Stranger, Syn, Udp};
    let tcp = |v4, forward| kind(v4, Protocol::Tcp, forward);
    let limited = |limited| Kind { limited, ..TCP4 };
    let moving = |moving| Kind { moving, ..TCP4 };
    let gated = |cell| Cell { gated: true, ..cell };
    vec![
        gated(cell("established TCP, v4, ipip, 1 flow", Established, TCP4, 1, Some(40.0))),
        cell("established TCP, v4, ipip, 64 K flows", Established, TCP4, K64, None),
        cell("established TCP, v4, ipip, 1 M flows", Established, TCP4, M, Some(50.0)),
        cell("SYN, v4, ipip, every flow new", Syn, TCP4, 1 << 24, Some(45.0)),
        gated(cell("UDP, v4, ipip, 1 flow", Udp, UDP4, 1, Some(40.0))),
        cell("UDP, v4, ipip, 1 M flows", Udp, UDP4, M, None),
        gated(cell("established TCP, v6, ipip, 1 flow", Established, TCP6, 1, Some(50.0))),
        cell("established TCP, v6, ipip, 1 M flows", Established, TCP6, M, None),
        cell("UDP, v6, ipip, 1 flow", Udp, UDP6, 1, None),
        gated(cell("established TCP, v4, gue, 1 flow", Established, tcp(true, Forward::Gue), 1, Some(55.0))),
        cell("established TCP, v6, gue, 1 flow", Established, tcp(false, Forward::Gue), 1, None),
        gated(cell("established TCP, v4, nat, 1 flow", Established, tcp(true, Forward::Nat), 1, Some(60.0))),
        cell("established TCP, v4, nat, 1 M flows", Established, tcp(true, Forward::Nat), M, None),
        cell("SYN, v4, nat, every flow new", Syn, tcp(true, Forward::Nat), 1 << 24, None),
        cell("UDP, v4, nat, 1 flow", Udp, kind(true, Protocol::Udp, Forward::Nat), 1, None),
        cell("established TCP, v6, nat, 1 flow", Established, tcp(false, Forward::Nat), 1, None),
        cell("established TCP, v4, l2, 1 flow", Established, tcp(true, Forward::L2), 1, None),
        cell("UDP, v4, snat, 64 K flows", Udp, kind(true, Protocol::Udp, Forward::Snat), K64, None),
        cell("UDP, v4, snat, 1 flow", Udp, kind(true, Protocol::Udp, Forward::Snat), 1, None),
        cell("10 % moving, 1 M flows", Established, moving(10), M, None),
        gated(cell("100 % moving, 1 flow", Established, moving(100), 1, None)),
        cell("99 % moving, 64 K flows", Established, Kind { moving: 99, ..TCP4 }, K64, None),
        cell("100 % moving, 1 M flows", Established, moving(100), M, Some(250.0)),
        cell("the same, and the clock read, as limits do", Clock, TCP4, 1, None),
        gated(cell("limit per service", Established, limited(Limited::Service), 1, None)),
        cell("limit per source, 1 flow", Established, limited(Limited::Source), 1, None),
        cell("limit per source, 1 M flows", Established, limited(Limited::Source), M, None),
        gated(cell("stranger's, v4", Stranger, TCP4, M, Some(15.0))),
        cell("stranger's, v6", Stranger, TCP6, M, None),
        cell("refused (martian source), v4", Refused, TCP4, 1, None),
    ]
}

impl Cell {
    fn packets(&self, world: &World) -> Result<Packets> {
        let vip = world.vip(&self.kind)?;
        let at = |vip: &Vip, flags, expected| frame::packets(vip, flags, self.flows, expected);
        Ok(match self.what {
            What::Established | What::Udp | What::Clock => at(&vip, frame::ACK, XDP_TX),
            What::Syn => at(&vip, frame::SYN, XDP_TX),
            What::Stranger => {
                let address = if self.kind.v4 { "192.0.2.77" } else { "2001:db8:77::1" };
                at(&Vip { address: address.parse()?, ..vip }, frame::ACK, XDP_PASS)
            }
            What::Refused => {
                let mut packets = at(&vip, frame::ACK, XDP_DROP);
                packets.frame[26] = 127;
                packets
            }
        })
    }

    const fn subject(&self) -> Subject {
        if matches!(self.what, What::Clock) { Subject::Clock } else { Subject::Weir }
    }

    const fn floor(&self) -> Subject {
        match self.what {
            What::Established | What::Syn | What::Udp | What::Clock => Subject::Push,
            What::Stranger | What::Refused => Subject::Nothing,
        }
    }
}

/// Measures all of it.
pub(crate) fn run(context: &Context, report: &mut Report) -> Result<()> {
    if !context.privileged {
        report.left_out.push("Nanoseconds a packet: only root loads BPF programs.".to_owned());
        return Ok(());
    }
    let growth = if context.growth { growth(context.pick(&FLOWS, &FLOWS[..4])) } else { vec![] };
    let cells = if context.tables { cells() } else { vec![] };
    let mut bench = Bench::new(cells.iter().chain(growth.iter().flat_map(|(_, cells)| cells)).copied())?;
    if context.tables {
        report.tables.push(bench.table(context, &cells)?);
    }
    if context.growth {
        let series = growth.iter().map(|(name, cells)| {
            let table = bench.table(context, cells)?;
            let points = cells
                .iter()
                .zip(table.rows)
                .filter_map(|(cell, row)| Some((f64::from(cell.flows), row.cells.into_iter().next()??)));
            Ok(((*name).to_owned(), points.collect()))
        });
        report.plots.push(Plot {
            id: "packet-flows",
            title: "A packet's nanoseconds over the floor, by the number of flows".to_owned(),
            x: "flows",
            y: "ns",
            log_y: false,
            series: series.collect::<Result<_>>()?,
        });
    }
    Ok(())
}

/// The gate's cells: those of these names, or those that it ought to hold when there are none.
pub(crate) fn gate(context: &Context, names: &[String]) -> Result<Table> {
    let held = |cell: &Cell| if names.is_empty() { cell.gated } else { names.iter().any(|name| name == cell.name) };
    let cells: Vec<Cell> = cells().into_iter().filter(held).collect();
    Bench::new(cells.iter().copied())?.table(context, &cells)
}

/// Numbers of flows that curves are drawn over.
const FLOWS: [u32; 6] = [1, 1 << 8, 1 << 12, K64, 1 << 18, M];

/// Curves over the number of flows, each with its name.
fn growth(flows: &[u32]) -> Vec<(&'static str, Vec<Cell>)> {
    let over = |what, kind| flows.iter().map(|&flows| cell("over flows", what, kind, flows, None)).collect();
    let moving = |moving| Kind { moving, ..TCP4 };
    vec![
        ("settled", over(What::Established, TCP4)),
        ("10 % moving", over(What::Established, moving(10))),
        ("100 % moving", over(What::Established, moving(100))),
        ("a stranger's", over(What::Stranger, TCP4)),
    ]
}

/// The maps with all that some cells need, and what they are measured by.
struct Bench {
    world: World,
}

impl Bench {
    fn new(cells: impl Iterator<Item = Cell>) -> Result<Self> {
        // How many flows of each kind are remembered, where any are.
        let mut kinds: BTreeMap<Kind, u32> = BTreeMap::new();
        for cell in cells {
            let flows = kinds.entry(cell.kind).or_default();
            *flows = cell.flows.max(*flows);
        }
        let mut world = World::new(&kinds.keys().copied().collect::<Vec<_>>())?;
        driver::load(&mut world.object)?;
        for (kind, flows) in kinds.into_iter().filter(|(kind, _)| kind.moving > 0) {
            world.remember(&kind, frame::client(kind.v4).into(), flows)?;
        }
        Ok(Self { world })
    }

    fn table(&mut self, context: &Context, cells: &[Cell]) -> Result<Table> {
        let mut own = vec![Samples::default(); cells.len()];
        let mut floors = own.clone();
        for _ in 0..context.rounds {
            for (n, cell) in cells.iter().enumerate() {
                let packets = cell.packets(&self.world)?;
                let repeat = if cell.flows < K64 { REPEAT } else { cell.flows.min(M) };
                let object = &mut self.world.object;
                floors[n].0.push(driver::measure(object, cell.floor(), &packets, REPEAT)?);
                let ns = driver::measure(object, cell.subject(), &packets, repeat)
                    .with_context(|| format!("{}; counted so far: {}", cell.name, self.world.refused()))?;
                own[n].0.push(ns);
            }
        }
        let rows = cells.iter().zip(own.iter().zip(&floors)).map(|(cell, (own, floor))| Row {
            name: cell.name.to_owned(),
            cells: [own.less(floor), own.over(floor), own.clone(), floor.clone()].map(Some).into(),
            target: cell.target.map(|most| Target { column: 0, most: Some(most), least: None }),
        });
        let column = |name, unit, digits| Column { name, unit, digits };
        Ok(Table {
            id: "packet",
            title: "Nanoseconds a packet, in the kernel".to_owned(),
            columns: vec![
                column("over the floor", "ns", 0),
                column("ratio", "×", 2),
                column("in all", "ns", 0),
                column("floor", "ns", 0),
            ],
            rows: rows.collect(),
            notes: vec![
                "Processor time of the thread, divided by the packets.".to_owned(),
                "The floor of what is forwarded pushes 20 bytes and returns XDP_TX; that of what passes, or is refused, does \
                 nothing and returns XDP_PASS."
                    .to_owned(),
                "nat, l2 and snat put nothing in front and take nothing back: the floor does, and its two calls of the kernel's are not \
                 theirs."
                    .to_owned(),
                "Frames have 94 bytes, addresses and ports of clients differ. Flows of slots that move are remembered, as they are \
                 some packets after the move began."
                    .to_owned(),
            ],
        })
    }
}

/// How many packets of few flows are measured at once.
const REPEAT: u32 = 200_000;
