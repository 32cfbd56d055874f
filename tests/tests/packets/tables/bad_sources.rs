//! Sources that no client can have.

use weir_tests::frame::{ACK, Frame, SYN, at, sctp, tcp, udp};

use super::Row;
use super::cast::{DNS, Forward, MODES, SIGNAL, WEB};

pub(super) fn rows() -> Vec<Row> {
    let v4 = ["0.0.0.0", "127.0.0.1", "224.0.0.251", "239.1.2.3", "255.255.255.255"];
    let v6 = ["::", "::1", "ff02::1", "ff0e::5", "fe80::1"];
    let mut rows = Vec::new();
    for service in &MODES {
        let name = |what: &str| format!("{}: {what}", service.name);
        for source in if service.is_v4() { v4 } else { v6 } {
            for frame in [
                udp(at(source, 4000), service.at(DNS)),
                tcp(at(source, 4000), service.at(WEB), SYN),
                tcp(at(source, 4000), service.at(WEB), ACK),
            ] {
                rows.push(Row::dropped(name(source), frame, "martian_source"));
            }
        }
        let land = |port| Frame { source: service.at(port), ..tcp(service.at(port), service.at(WEB), SYN) };
        rows.push(Row::dropped(name("land"), land(WEB), "martian_source"));
        rows.push(Row::dropped(name("the VIP's own address"), land(4000), "martian_source"));
        rows.push(Row::dropped(name("the VIP itself"), udp(service.at(DNS), service.at(DNS)), "martian_source"));
        let nobody = (service.client().0, 0);
        rows.push(Row::dropped(name("port 0"), tcp(nobody, service.at(WEB), SYN), "source_port_zero"));
        rows.push(Row::dropped(name("port 0, UDP"), udp(nobody, service.at(DNS)), "source_port_zero"));
        if service.takes_sctp() {
            rows.push(Row::dropped(name("port 0, SCTP"), sctp(nobody, service.at(SIGNAL), true), "source_port_zero"));
        }
        if service.forward == Forward::Nat {
            let own = udp(service.listens(DNS), service.at(DNS));
            rows.push(Row::dropped(name("the service's own backend"), own, "martian_source"));
        }
    }
    let (one, other) = (&MODES[0], &MODES[4]);
    rows.push(Row::dropped("another VIP", udp(other.at(DNS), one.at(DNS)), "martian_source"));
    // RFC 4942 §2.2.
    let mapped = udp(at("::ffff:198.51.100.11", 4000), MODES[1].at(DNS));
    rows.push(Row::same("an IPv4 address in IPv6", mapped, "bad_ip_header"));
    rows.push(Row::same(
        "an IPv4 VIP in IPv6",
        udp(MODES[1].client(), at("::ffff:203.0.113.110", DNS)),
        "bad_ip_header",
    ));
    rows
}
