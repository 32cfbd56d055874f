//! Services of every port.

use weir_tests::frame::{ACK, Frame, SYN, sctp, tcp, udp};

use super::Row;
use super::cast::{ANY_PORT, Forward};
use super::modes::row;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for service in &ANY_PORT {
        let client = service.client();
        for port in [1, 22, 80, 8080, 65_535] {
            rows.push(row(service, &format!("port {port}"), tcp(client, service.at(port), SYN)));
            rows.push(row(service, &format!("port {port}"), tcp(client, service.at(port), ACK)));
            rows.push(row(service, &format!("port {port}"), udp(client, service.at(port))));
            if service.takes_sctp() {
                rows.push(row(service, &format!("port {port}"), sctp(client, service.at(port), true)));
            }
        }
        if service.forward == Forward::Nat {
            for port in [22, 65_535] {
                let reply = tcp(service.listens(port), client, SYN | ACK);
                let expected = Frame { source: service.at(port), ..reply.clone() };
                let expected = expected.sent(super::cast::CLIENT_MAC, super::cast::FRONT_MAC);
                rows.push(Row::sent(format!("a reply from port {port}"), reply, expected));
            }
        }
    }
    rows
}
