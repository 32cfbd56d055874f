//! All ways to forward, each with services of its own, in one lab.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use weir_tests::lab::{
    Backend, Builder, HOST_DEVICE, HTTP_PORT, Lab, Process, Sniffer, Trunk, UdpEcho, WEIR_BACK_V4, WEIR_BACK_V6,
    vip_v4, vip_v6, wait_until, weir_binary,
};

use crate::stand::{SNAT, SOON, Service, Stand, config};

/// The port of UDP services, and of the servers on VIPs.
pub(crate) const ECHO_PORT: u16 = 9001;
/// Which backends have which way back: by Weir's host, to the clients themselves, to [`SNAT`] alone.
const THROUGH: std::ops::Range<usize> = 0..2;
const PAST: std::ops::Range<usize> = 2..4;
const REWRITTEN: std::ops::Range<usize> = 4..6;

/// How many that are.
pub(crate) const BACKENDS: u8 = 6;

/// A way to forward, with the families of what is forwarded and of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) forward: &'static str,
    /// The names of its services, by TCP and by UDP.
    pub(crate) names: [&'static str; 2],
    pub(crate) v6: bool,
    /// Whether the backends' addresses are IPv6.
    pub(crate) outer_v6: bool,
}

const fn mode(forward: &'static str, names: [&'static str; 2], v6: bool, outer_v6: bool) -> Mode {
    Mode { forward, names, v6, outer_v6 }
}

pub(crate) const MODES: [Mode; 14] = [
    mode("nat", ["nat-4", "nat-4-udp"], false, false),
    mode("nat", ["nat-6", "nat-6-udp"], true, true),
    mode("snat", ["snat-4", "snat-4-udp"], false, false),
    mode("snat", ["snat-6", "snat-6-udp"], true, true),
    mode("l2", ["l2-4", "l2-4-udp"], false, false),
    mode("l2", ["l2-6", "l2-6-udp"], true, true),
    mode("ipip", ["ipip-4in4", "ipip-4in4-udp"], false, false),
    mode("ipip", ["ipip-4in6", "ipip-4in6-udp"], false, true),
    mode("ipip", ["ipip-6in4", "ipip-6in4-udp"], true, false),
    mode("ipip", ["ipip-6in6", "ipip-6in6-udp"], true, true),
    mode("gue", ["gue-4in4", "gue-4in4-udp"], false, false),
    mode("gue", ["gue-4in6", "gue-4in6-udp"], false, true),
    mode("gue", ["gue-6in4", "gue-6in4-udp"], true, false),
    mode("gue", ["gue-6in6", "gue-6in6-udp"], true, true),
];

impl Mode {
    /// The VIP's address, which no other mode has.
    pub(crate) fn vip(&self) -> IpAddr {
        let number = MODES.iter().position(|mode| mode == self).unwrap();
        let host = 10 + u8::try_from(number).unwrap();
        if self.v6 { vip_v6(host) } else { vip_v4(host) }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        (self.vip(), HTTP_PORT).into()
    }

    pub(crate) fn echo(&self) -> SocketAddr {
        (self.vip(), ECHO_PORT).into()
    }

    /// Whether backends answer clients themselves.
    pub(crate) fn is_direct(&self) -> bool {
        !matches!(self.forward, "nat" | "snat")
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.forward, "ipip" | "gue")
    }

    /// The names of its backends.
    pub(crate) fn backends<'a>(&self, lab: &'a Lab) -> Vec<&'a str> {
        lab.backends[self.range()].iter().map(|backend| backend.name.as_str()).collect()
    }

    fn range(&self) -> std::ops::Range<usize> {
        match self.forward {
            "nat" => THROUGH,
            "snat" => REWRITTEN,
            _ => PAST,
        }
    }

    fn services(&self) -> [Service; 2] {
        let [tcp, udp] = self.names;
        let dress = |service: Service| service.forward(self.forward).backends(self.range()).tunnel_v6(self.outer_v6);
        let udp = dress(Service::udp(udp, self.echo()));
        [dress(Service::tcp(tcp, self.http())), if self.is_direct() { udp.at(ECHO_PORT) } else { udp }]
    }
}

/// Weir, with services of some modes, and backends that suit them. Fields are dropped in this order.
pub(crate) struct Yard {
    pub(crate) stand: Stand,
    _echoes: Vec<UdpEcho>,
    _decaps: Vec<Process>,
    trunks: Vec<Trunk>,
    pub(crate) modes: Vec<Mode>,
}

impl Yard {
    /// With more lines under `[weir]`, and more services.
    pub(crate) fn new(builder: Builder, modes: &[Mode], more: &str, services: &[Service]) -> Self {
        Self::in_lab(builder.backends(BACKENDS).build().unwrap(), modes, more, services)
    }

    /// The same in a lab that stands, of [`BACKENDS`].
    pub(crate) fn in_lab(lab: Lab, modes: &[Mode], more: &str, services: &[Service]) -> Self {
        let (past, rewritten) = (&lab.backends[PAST], &lab.backends[REWRITTEN]);
        let direct: Vec<&Mode> = modes.iter().filter(|mode| mode.is_direct()).collect();
        let vips: Vec<IpAddr> = direct.iter().map(|mode| mode.vip()).collect();
        for backend in past {
            lab.return_directly(backend, &vips).unwrap();
        }
        for backend in rewritten {
            lab.return_only_to(backend, &SNAT).unwrap();
        }
        let echoes = past.iter().flat_map(|backend| {
            direct.iter().map(|mode| UdpEcho::start_at(&backend.netns, &backend.name, mode.echo()).unwrap())
        });
        let echoes = echoes.collect();
        let decaps = if modes.iter().any(Mode::is_tunnel) { decaps(&lab) } else { vec![] };
        let services: Vec<Service> =
            modes.iter().flat_map(|mode| mode.services()).chain(services.iter().cloned()).collect();
        let keys = format!("[weir]\ntable_size = 251\n{more}");
        let text = config(&lab, &services).replacen("[weir]\n", &keys, 1);
        let stand = Stand::with_text(lab, &services, &text);
        let yard = Self { stand, _echoes: echoes, _decaps: decaps, trunks: vec![], modes: modes.to_vec() };
        yard.await_ways_out();
        yard
    }

    /// Waits until frames for all backends leave from XDP.
    fn await_ways_out(&self) {
        for name in self.modes.iter().flat_map(|mode| mode.names) {
            self.stand.await_backends(name, "the way out", |rows| {
                rows.len() == 2 && rows.iter().all(|row| row.delivery.starts_with("xdp "))
            });
        }
    }

    /// Keeps what makes the cables to Weir's host trunks.
    pub(crate) fn keep(&mut self, trunks: Vec<Trunk>) {
        self.trunks = trunks;
    }
}

/// Captures at the ports of the client and of a backend of each kind.
pub(crate) fn sniff(yard: &Yard) -> Vec<Sniffer> {
    let lab = &yard.stand.lab;
    let ports = ["c1", "b1", "b3", "b4", "b5"];
    ports.map(|port| Sniffer::start(lab, &lab.switch, port).unwrap()).into()
}

/// `weir decap` on all backends that are reached by tunnels.
fn decaps(lab: &Lab) -> Vec<Process> {
    let start = |(number, backend): (usize, &Backend)| {
        let mut command = Command::new(weir_binary());
        command.args(["decap", "--iface", HOST_DEVICE]);
        // One sees to it that clients send nothing too large for a tunnel from the beginning; to the others they have to
        // be told.
        if number > 0 {
            command.arg("--no-clamp");
        }
        command.args(["--from", &WEIR_BACK_V4.to_string(), "--from", &WEIR_BACK_V6.to_string()]);
        let name = format!("decap-{}", backend.name);
        let process = Process::start(lab, &backend.netns, &name, &mut command).unwrap();
        wait_until("weir decap to be attached", SOON, || {
            let link = backend.netns.ip("-json link show dev net0").unwrap();
            link.contains("\"xdp\"").then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", process.log()));
        process
    };
    lab.backends[PAST].iter().enumerate().map(start).collect()
}
