//! The services of Weir's own host, on the NICs that Weir is attached to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_tests::lab::{
    FRONT, FrameSocket, HOST_DEVICE, HttpLoad, HttpServer, UdpEcho, UdpLoad, WEIR_FRONT_V4, WEIR_FRONT_V6, vip_v4,
    vip_v6,
};

use crate::craft::{Way, echo_request};
use crate::stand::{SOON, Service, Stand};

/// Ports of the host's own servers.
const SSH: u16 = 22;
const DNS: u16 = 53;

#[test]
fn host_services_work_beside_vips_even_on_a_vips_address() {
    let (vip4, vip6) = (vip_v4(10), vip_v6(10));
    let services = [
        Service::tcp("web", (vip4, 80).into()),
        Service::tcp("web6", (vip6, 80).into()),
        Service::udp("echo", (vip4, 7).into()),
        Service::udp("echo6", (vip6, 7).into()),
    ];
    let stand = Stand::new(1, 2, &services);
    let (host, client) = (&stand.lab.weir, &stand.lab.clients[0].netns);
    let ssh = HttpServer::start(host, "host", SSH).unwrap();
    let _dns = UdpEcho::start(host, "host", DNS).unwrap();
    let through_vips = || {
        for vip in [vip4, vip6] {
            let report = HttpLoad::new((vip, 80).into(), 200).run(client);
            assert_eq!((report.failed(), report.answers.len()), (0, 2), "{report:?}");
            let report = UdpLoad::new((vip, 7).into(), 1_000, Duration::from_millis(200)).run(client).unwrap();
            assert_eq!((report.send_errors, report.answered()), (0, 200), "{report:?}");
        }
    };
    let on_the_host = |addresses: &[IpAddr]| {
        for address in addresses {
            let before = ssh.connections();
            let report = HttpLoad::new(SocketAddr::new(*address, SSH), 200).run(client);
            assert_eq!((report.failed(), report.share("host")), (0, 1.0), "{address}: {report:?}");
            assert_eq!(ssh.connections() - before, 200);
        }
        // Its server answers from the address that the route back prefers, so not on a VIP's.
        for address in [WEIR_FRONT_V4.into(), WEIR_FRONT_V6.into()] {
            let load = UdpLoad::new(SocketAddr::new(address, DNS), 1_000, Duration::from_millis(200));
            let report = load.run(client).unwrap();
            assert_eq!((report.send_errors, report.answers.get("host")), (0, Some(&200)), "{address}: {report:?}");
        }
    };
    on_the_host(&[WEIR_FRONT_V4.into(), WEIR_FRONT_V6.into()]);
    through_vips();

    host.ip_batch(&format!("addr add {vip4}/32 dev lo\naddr add {vip6}/128 dev lo\n")).unwrap();
    on_the_host(&[WEIR_FRONT_V4.into(), WEIR_FRONT_V6.into(), vip4, vip6]);
    through_vips();
}

#[test]
fn the_host_answers_pings() {
    let stand = Stand::new(1, 1, &[Service::tcp("web", (vip_v4(10), 80).into())]);
    let client = &stand.lab.clients[0];
    let wire = FrameSocket::open(&client.netns, HOST_DEVICE).unwrap();
    let ethernet = [stand.lab.weir.mac(FRONT).unwrap(), client.netns.mac(HOST_DEVICE).unwrap()];
    let v4 = Way { ethernet, source: client.v4, destination: WEIR_FRONT_V4 };
    wire.send(&v4.packet(1, &[], 0, &echo_request(8, &[], b"ping"))).unwrap();
    wire.expect(SOON, |frame| frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == 0 && frame[42..46] == *b"ping")
        .unwrap();
    let v6 = Way { ethernet, source: client.v6, destination: WEIR_FRONT_V6 };
    wire.send(&v6.packet(58, &echo_request(128, &v6.pseudo(), b"ping"))).unwrap();
    wire.expect(SOON, |frame| frame[12..14] == [0x86, 0xdd] && frame[54] == 129 && frame[62..66] == *b"ping").unwrap();
}
