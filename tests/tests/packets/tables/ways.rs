//! Ways that XDP cannot take, and ports at which no service is.

use weir_tests::frame::{ACK, Frame, SYN, tcp, udp};

use super::Row;
use super::cast::{DNS, WEB, named};
use super::mtu::error;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let service = named("nat, by the stack");
    for frame in [tcp(service.client(), service.at(WEB), ACK), service.datagram()] {
        let to = service.listens(frame.destination.1);
        rows.push(Row::stack("nat, by the stack", frame.clone(), Frame { destination: to, ..frame }));
    }
    // What only XDP can do ends here: the stack would take what is for a VIP for its own.
    for name in ["l2, by the stack", "ipip, by the stack", "gue, by the stack"] {
        let service = named(name);
        rows.push(Row::dropped(name, tcp(service.client(), service.at(WEB), ACK), "no_way"));
        rows.push(Row::dropped(name, service.datagram(), "no_way"));
    }
    for name in ["closed", "closed, IPv6"] {
        let service = named(name);
        for input in [
            tcp(service.client(), service.at(22), SYN),
            udp(service.client(), service.at(33_434)),
            udp(service.client(), service.at(33_434)).sized(1400),
            udp(service.client(), service.at(WEB)),
            tcp(service.client(), service.at(DNS), SYN),
        ] {
            // "Port unreachable" (RFC 792, RFC 4443 §3.1).
            let (kind, code) = if service.is_v4() { (3, 3) } else { (1, 4) };
            let answer = error(service.vip, &input, kind, code, [0; 4]);
            rows.push(Row::answered(name, input, answer, "closed_port"));
        }
        let all = Frame { mac_destination: [0xff; 6], ..udp(service.client(), service.at(33_434)) };
        rows.push(Row::same("to all on the link", all, "no_service"));
    }
    let open = named("nat");
    rows.push(Row::same("a closed port is the host's", tcp(open.client(), open.at(22), SYN), "no_service"));
    rows.push(Row::same("the port of another protocol", udp(open.client(), open.at(WEB)), "no_service"));
    rows
}
