//! The configuration of the Weir under test.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::{BACK, FRONT, Lab, vip_v4, vip_v6};

/// How long a silent connection is believed, TCP and UDP: short, so that slots settle while somebody looks.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// The service beside the others, which comes, goes and changes. Nobody uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It is not there.
    Absent,
    /// It is there, with this limit for each source.
    Limited {
        /// Packets a second.
        rate: u64,
    },
}

/// Where the service is.
pub(super) fn vip(service: &str) -> SocketAddr {
    match service {
        "web" => (vip_v4(10), 80).into(),
        "web6" => (vip_v6(10), 80).into(),
        "echo" => (vip_v4(20), 7).into(),
        "echo6" => (vip_v6(20), 7).into(),
        "side" => (vip_v4(30), 80).into(),
        other => unreachable!("no service {other}"),
    }
}

/// The file's text.
pub(super) fn text(lab: &Lab, side: Side) -> String {
    let idle = IDLE.as_secs();
    let mut text = format!(
        "[weir]\nsocket = {:?}\nstate = {:?}\non_exit = \"keep\"\nmax_flows = 65536\ntcp_idle = \"{idle}s\"\nudp_idle = \"{idle}s\"\n",
        lab.socket(),
        lab.state()
    );
    for device in [FRONT, BACK] {
        text += &format!("\n[[interface]]\nname = {device:?}\nmode = \"native\"\n");
    }
    text += "\n[registry.local]\ntype = \"file\"\npath = \"services.d\"\n";
    for name in ["web", "web6"] {
        text += &service(name, "tcp");
    }
    for name in ["echo", "echo6"] {
        text += &service(name, "udp");
    }
    if let Side::Limited { rate } = side {
        text += &service("side", "tcp");
        text += &format!("limit = {{ per = \"source\", rate = {rate}, unit = \"packets/s\", burst = 10 }}\n");
    }
    text
}

fn service(name: &str, protocol: &str) -> String {
    let (address, port) = (vip(name).ip(), vip(name).port());
    format!(
        "\n[[service]]\nname = {name:?}\nvip = \"{address}\"\nport = {port}\nprotocol = {protocol:?}\n\
         forward = \"nat\"\nregistry = \"local\"\n"
    )
}
