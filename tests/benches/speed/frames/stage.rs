//! Where frames go: Weir at the lab's first device, and the bare program at a cable of its own beside it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use weir_tests::lab::{Entry, FRONT, FileRegistry, Lab, WeirProcess, vip_v4, vip_v6, wait_until, weir_binary};

use super::source::Source;
use super::stream::Target;

/// Both ends of each cable, that at Weir's host first: the bare program's, the same one's that redirects, Weir's.
const CABLES: [(&str, &str); 3] = [("bare", "bare-far"), ("redirect", "redirect-far"), (FRONT, "weir-front")];
/// The services' port.
const PORT: u16 = 80;
/// How many backends each service has.
const BACKENDS: u8 = 4;

/// What frames go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Bare,
    Redirect,
    Ipip,
    Nat,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Bare, Self::Redirect, Self::Ipip, Self::Nat];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Redirect => "bare by redirection",
            Self::Ipip => "ipip",
            Self::Nat => "nat",
        }
    }

    /// Whether it is Weir's.
    pub(super) const fn is_weir(self) -> bool {
        matches!(self, Self::Ipip | Self::Nat)
    }

    const fn cable(self) -> usize {
        match self {
            Self::Bare => 0,
            Self::Redirect => 1,
            Self::Ipip | Self::Nat => 2,
        }
    }
}

/// Fields are dropped in this order.
pub(super) struct Stage {
    weir: WeirProcess,
    pub(super) lab: Lab,
    macs: [[u8; 6]; 3],
    far: [u32; 3],
}

impl Stage {
    pub(super) fn build(source: &mut Source) -> Result<Self> {
        // The backends are on the clients' side: what goes to them leaves by the device it came in by.
        let lab = Lab::builder().clients(BACKENDS).backends(0).build()?;
        let [bare, redirect, _] = CABLES;
        for (near, far) in [bare, redirect] {
            lab.switch.ip(&format!("link add name {far} type veth peer name {near} netns {}", lab.weir.name()))?;
            lab.switch.ip(&format!("link set dev {far} up"))?;
            lab.weir.ip(&format!("link set dev {near} up"))?;
        }
        source.attach_bounce(&lab.weir, bare.0)?;
        source.attach_redirect(&lab.weir, redirect.0)?;

        let registry = FileRegistry::new(&lab)?;
        let mut config = format!(
            "[weir]\nsocket = {:?}\nstate = {:?}\n\n[[interface]]\nname = {FRONT:?}\nmode = \"native\"\npeer_has_xdp = true\n\n\
             [registry.local]\ntype = \"file\"\npath = \"services.d\"\n",
            lab.socket(),
            lab.state()
        );
        for (way, v6) in services() {
            let name = service(way, v6);
            let backends = lab.clients.iter().map(|host| {
                let address: IpAddr = if v6 { host.v6.into() } else { host.v4.into() };
                Entry::new(&host.name, address, PORT, 100)
            });
            registry.publish(&name, &backends.collect::<Vec<_>>())?;
            config += &format!(
                "\n[[service]]\nname = {name:?}\nvip = \"{}\"\nport = {PORT}\nprotocol = \"tcp\"\nregistry = \"local\"\nforward = {:?}\n",
                vip(way, v6).ip(),
                way.name()
            );
        }
        let weir = WeirProcess::start(&lab, &weir_binary(), &config)?;
        await_ways_out(&weir)?;
        let (mut macs, mut ends) = ([[0; 6]; 3], [0; 3]);
        for (((near, far), mac), end) in CABLES.into_iter().zip(&mut macs).zip(&mut ends) {
            source.attach_sink(&lab.switch, far)?;
            *mac = lab.weir.mac(near)?;
            *end = lab.switch.index(far)?;
        }
        Ok(Self { weir, lab, macs, far: ends })
    }

    /// The device out of which frames go that way.
    pub(super) fn near(&self, way: Way) -> u32 {
        self.far[way.cable()]
    }

    pub(super) fn target(&self, way: Way, v6: bool) -> Target {
        Target { mac: self.macs[way.cable()], address: vip(way, v6) }
    }

    /// Why Weir refused packets, as it says itself.
    pub(super) fn refusals(&self) -> String {
        self.weir.cli(&["refusals"]).map_or_else(|error| format!("{error:#}"), |said| said.stdout + &said.stderr)
    }
}

fn services() -> impl Iterator<Item = (Way, bool)> {
    [Way::Ipip, Way::Nat].into_iter().flat_map(|way| [(way, false), (way, true)])
}

fn service(way: Way, v6: bool) -> String {
    format!("{}-{}", way.name(), if v6 { 6 } else { 4 })
}

fn vip(way: Way, v6: bool) -> SocketAddr {
    let host = if way == Way::Nat { 11 } else { 10 };
    (if v6 { vip_v6(host) } else { vip_v4(host) }, PORT).into()
}

/// Waits until Weir knows how frames leave for every backend, from XDP.
fn await_ways_out(weir: &WeirProcess) -> Result<()> {
    for (way, v6) in services() {
        let name = service(way, v6);
        wait_until("ways out to the backends", Duration::from_secs(10), || {
            let rows = match weir.json(&["backends", &name]) {
                Ok(rows) => rows,
                Err(error) => return Some(Err(error)),
            };
            let leaves = |row: &serde_json::Value| row["delivery"].as_str().is_some_and(|way| way.starts_with("xdp "));
            let there = rows.as_array().filter(|rows| rows.len() == usize::from(BACKENDS));
            there.is_some_and(|rows| rows.iter().all(leaves)).then_some(Ok(()))
        })??;
    }
    Ok(())
}
