//! TCP flags that no connection has (RFC 9293 §3.10.7).

use weir_tests::frame::{ACK, FIN, PSH, RST, SYN, URG, tcp};

use super::Row;
use super::cast::{Forward, MODES, WEB};
use super::modes::row;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for service in &MODES {
        let frame = |flags| tcp(service.client(), service.at(WEB), flags);
        for (what, flags) in [
            ("no flags", 0),
            ("SYN and FIN", SYN | FIN),
            ("SYN and RST", SYN | RST),
            ("SYN, FIN and ACK", SYN | FIN | ACK),
            ("SYN, RST and ACK", SYN | RST | ACK),
            ("FIN alone", FIN),
            ("PSH alone", PSH),
            ("URG alone", URG),
            ("Xmas", FIN | PSH | URG),
            ("all of them", 0x3f),
            ("all of them, and ECE and CWR", 0xff),
        ] {
            rows.push(Row::dropped(format!("{}: {what}", service.name), frame(flags), "bad_flags"));
        }
        // RFC 3168 §6.1.1: who wants ECN says so in its SYN.
        rows.push(row(service, "SYN, ECE and CWR", frame(SYN | 0xc0)));
        rows.push(row(service, "ACK, ECE", frame(ACK | 0x40)));
        rows.push(row(service, "ACK, URG and PSH", frame(ACK | URG | PSH)));
        rows.push(row(service, "FIN, PSH, URG and ACK", frame(FIN | PSH | URG | ACK)));
        if service.forward != Forward::Snat {
            rows.push(row(service, "RST alone", frame(RST)));
        }
    }
    rows
}
