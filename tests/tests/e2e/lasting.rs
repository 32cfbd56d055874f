//! Connections that last, TCP and UDP, IPv4 and IPv6, to services that every backend of a lab serves.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir::api::types::DrainRow;
use weir_tests::lab::traffic::{ANSWER_PORT, Answerer, Fleet, Ledger, Manners};
use weir_tests::lab::{Lab, vip_v4, vip_v6, wait_until};

use crate::stand::{self, SOON, Service, Stand};

/// How long something may take that waits for idle time-outs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that a connection of a fleet is silent: well within [`IDLE`].
const PAUSE: Duration = Duration::from_millis(300);

/// Slots of a service's table: fewer than usual, since a build without optimisation takes its time to look through them.
pub(crate) const TABLE_SIZE: u32 = 8_191;

/// A service's idle time-out, short so that tests are.
pub(crate) const IDLE: &str = "idle = \"2s\"";

/// The services, and whether they are UDP's.
pub(crate) const SERVICES: [(&str, bool); 4] = [("tcp", false), ("tcp6", false), ("udp", true), ("udp6", true)];

/// Where clients find a service of these.
pub(crate) fn vip(service: &str) -> SocketAddr {
    let address: IpAddr = if service.ends_with('6') { vip_v6(30) } else { vip_v4(30) };
    (address, 80).into()
}

/// One of the services.
pub(crate) fn service(name: &'static str) -> Service {
    let service = if name.starts_with("udp") { Service::udp(name, vip(name)) } else { Service::tcp(name, vip(name)) };
    service.at(ANSWER_PORT).with(IDLE)
}

/// All of them.
pub(crate) fn services() -> Vec<Service> {
    SERVICES.iter().map(|(name, _)| service(name)).collect()
}

/// The configuration of a stand with these services.
pub(crate) fn config(lab: &Lab, services: &[Service]) -> String {
    stand::config(lab, services).replacen("[weir]\n", &format!("[weir]\ntable_size = {TABLE_SIZE}\n"), 1)
}

/// A stand with connections. Fields are dropped in this order.
pub(crate) struct Lasting {
    pub(crate) tcp: Fleet,
    pub(crate) udp: Fleet,
    pub(crate) ledger: Ledger,
    _answerers: Vec<Answerer>,
    pub(crate) stand: Stand,
}

impl Lasting {
    /// So many connections of each kind, half of them over IPv6, to the services in [`services`]; all are open.
    pub(crate) fn new(backends: u8, connections: usize) -> Self {
        Self::with_services(backends, connections, &services())
    }

    /// The same with these services, which are at [`vip`] of their names.
    pub(crate) fn with_services(backends: u8, connections: usize, services: &[Service]) -> Self {
        let lab = Lab::builder().backends(backends).build().unwrap();
        let text = config(&lab, services);
        let stand = Stand::with_text(lab, services, &text);
        let answerers = answerers(&stand.lab);
        let ledger = Ledger::default();
        let (tcp, udp) = fleets(&stand.lab, connections, 0, &ledger);
        Self { tcp, udp, ledger, _answerers: answerers, stand }
    }

    /// How many connections of this fleet each backend has, TCP and UDP.
    pub(crate) fn by_backend(&self) -> [BTreeMap<String, usize>; 2] {
        [self.tcp.by_backend(), self.udp.by_backend()]
    }

    /// How many connections a backend has, TCP and UDP.
    pub(crate) fn with(&self, backend: &str) -> [usize; 2] {
        self.by_backend().map(|with| with.get(backend).copied().unwrap_or(0))
    }

    /// Opens as many connections of each kind anew, and says which backends took them, TCP and UDP.
    pub(crate) fn newcomers(&self, connections: usize) -> [BTreeMap<String, usize>; 2] {
        let (tcp, udp) = fleets(&self.stand.lab, connections, 1, &self.ledger);
        let with = [tcp.by_backend(), udp.by_backend()];
        tcp.end();
        udp.end();
        wait_until("the newcomers to leave", SOON, || (tcp.ended() && udp.ended()).then_some(())).unwrap();
        with
    }

    /// Waits until connections have gone on for a while.
    pub(crate) fn goes_on(&self) {
        let (tcp, udp) = (self.tcp.exchanges(), self.udp.exchanges());
        let enough = |before, now, open| now >= before + 5 * open as u64;
        wait_until("connections to go on", SOON, || {
            let tcp = enough(tcp, self.tcp.exchanges(), self.tcp.open());
            (tcp && enough(udp, self.udp.exchanges(), self.udp.open())).then_some(())
        })
        .unwrap();
    }

    /// No connection has broken.
    pub(crate) fn assert_unbroken(&self) {
        assert_eq!(self.ledger.count(), 0, "{:#?}\n{}", self.ledger.breaks(), self.stand.weir.log());
    }

    /// Waits until the drains of a backend are as they shall be.
    pub(crate) fn await_drains(&self, backend: &str, what: &str, is_it: impl Fn(&[DrainRow]) -> bool) -> Vec<DrainRow> {
        let mut last = vec![];
        wait_until(what, PATIENCE, || {
            last = self.stand.drains(Some(backend));
            is_it(&last).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {last:#?}\n{:#?}\n{}", self.by_backend(), self.stand.weir.log()));
        last
    }
}

/// A server on every backend.
pub(crate) fn answerers(lab: &Lab) -> Vec<Answerer> {
    lab.backends.iter().map(|backend| Answerer::start(&backend.netns, &backend.name).unwrap()).collect()
}

/// Fleets of so many connections each, all of which are open.
fn fleets(lab: &Lab, connections: usize, seed: u64, ledger: &Ledger) -> (Fleet, Fleet) {
    let manners = |udp| {
        let targets = SERVICES.iter().filter(|(_, is_udp)| *is_udp == udp).map(|(name, _)| vip(name)).collect();
        Manners { seed, ..Manners::new(targets, connections, PAUSE) }
    };
    let client = &lab.clients[0].netns;
    let (tcp, udp) = (Fleet::tcp(client, manners(false), ledger), Fleet::udp(client, manners(true), ledger));
    let open = || (tcp.open() == connections && udp.open() == connections).then_some(());
    wait_until("all connections to be open", 2 * SOON, open)
        .unwrap_or_else(|error| panic!("{error}: {} and {}, {:#?}", tcp.open(), udp.open(), ledger.breaks()));
    (tcp, udp)
}
