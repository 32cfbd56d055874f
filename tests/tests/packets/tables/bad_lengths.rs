//! Lengths that lie.

use weir_tests::frame::{ACK, Extension, Frame, Lies, Tag, VLAN, sctp, tcp};

use super::Row;
use super::cast::{MODES, SIGNAL, WEB};
use super::modes::row;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for service in &MODES {
        let web = tcp(service.client(), service.at(WEB), ACK);
        let dns = service.datagram();
        let lies = Lies::default;
        let name = |what: &str| format!("{}: {what}", service.name);
        let mut dropped = |what: &str, frame: Frame| rows.push(Row::dropped(name(what), frame, "malformed"));
        let ip = if service.is_v4() { 20 } else { 0 };
        for (what, length) in [
            ("no length", 0),
            ("one byte too few for TCP", ip + 19),
            ("one byte more than there is", ip + 26),
            ("all there can be", 65_535),
        ] {
            dropped(what, web.clone().lying(Lies { length: Some(length), ..lies() }));
            let tagged = Frame { tags: vec![Tag(VLAN, 5)], ..web.clone() };
            dropped(what, tagged.lying(Lies { length: Some(length), ..lies() }));
        }
        dropped("one byte too few for UDP", dns.clone().lying(Lies { length: Some(ip + 7), ..lies() }));
        for (what, length) in [("a UDP length of 0", 0), ("of 7", 7), ("past the packet", 14), ("of 65,535", 65_535)] {
            dropped(what, dns.clone().lying(Lies { udp_length: Some(length), ..lies() }));
        }
        for words in (0..5).chain(7..16) {
            dropped(
                &format!("a TCP header of {words} words"),
                web.clone().lying(Lies { tcp_words: Some(words), ..lies() }),
            );
        }
        if service.takes_sctp() {
            let init = sctp(service.client(), service.at(SIGNAL), true);
            dropped("one byte too few for SCTP", init.lying(Lies { length: Some(ip + 11), ..lies() }));
        }
        // What follows a packet in its frame, or a datagram in its packet, is padding.
        let padded = Frame { padding: vec![0xee; 5], ..web.clone() };
        rows.push(row(service, "padding", padded));
        let short = dns.clone().sized(20).lying(Lies { udp_length: Some(20), ..lies() });
        rows.push(row(service, "a UDP length that leaves eight bytes over", short));
        if service.is_v4() {
            for words in 0..5 {
                let frame = web.clone().lying(Lies { header_words: Some(words), ..lies() });
                rows.push(Row::same(name(&format!("an IP header of {words} words")), frame, "bad_ip_header"));
            }
            for version in (0..16).filter(|version| *version != 4) {
                let frame = web.clone().lying(Lies { version: Some(version), ..lies() });
                rows.push(Row::same(name(&format!("version {version}")), frame, "bad_ip_header"));
            }
            let frame = web.clone().with([]).lying(Lies { header_words: Some(15), ..lies() });
            rows.push(Row::same(name("an IP header past the packet"), frame, "truncated"));
        } else {
            for version in (0..16).filter(|version| *version != 6) {
                let frame = web.clone().lying(Lies { version: Some(version), ..lies() });
                rows.push(Row::same(name(&format!("version {version}")), frame, "bad_ip_header"));
            }
            for units in [20, 100] {
                let long = Extension::Raw(60, vec![0, units, 1, 4, 0, 0, 0, 0]);
                let frame = Frame { extensions: vec![long], ..web.clone() }.odd();
                rows.push(Row::same(name("options past the packet"), frame, "truncated"));
            }
        }
    }
    rows
}
