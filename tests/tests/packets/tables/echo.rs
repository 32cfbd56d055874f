//! Echo requests to VIPs (RFC 792, RFC 1122 §3.2.2.6, RFC 4443 §4.2).

use weir_tests::frame::{Frame, Lies, Tag, VLAN, echo};

use super::Row;
use super::cast::{CLIENT, CLIENT6, MODES, TAGGED, named};

/// The reply: from the VIP, back where the request came from, with all its data.
fn reply(request: &Frame, id: u16, sequence: u16) -> Frame {
    let (vip, client) = (request.destination.0.to_string(), request.source.0.to_string());
    Frame {
        mac_destination: request.mac_source,
        mac_source: request.mac_destination,
        tags: request.tags.clone(),
        padding: request.padding.clone(),
        tos: request.tos,
        label: request.label,
        ..echo(&vip, &client, false, id, sequence, request.payload.clone())
    }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut answered = |what: String, request: Frame, id, sequence| {
        let reply = reply(&request, id, sequence);
        rows.push(Row::answered(what, request, reply, "echo_answered"));
    };
    for service in MODES.iter().chain(&TAGGED) {
        let client = if service.is_v4() { CLIENT } else { CLIENT6 };
        let name = |what: &str| format!("{}: {what}", service.name);
        for size in [0, 1, 2, 7, 8, 56, 57, 1000, 1452, if service.is_v4() { 1472 } else { 1452 }] {
            let request = echo(client, service.vip, true, 0x1234, 1, []).sized(size);
            answered(name(&format!("{size} bytes")), request, 0x1234, 1);
        }
        let request = echo(client, service.vip, true, 0xffff, 0xffff, b"abc");
        answered(name("padding"), Frame { padding: vec![0; 15], ..request.clone() }, 0xffff, 0xffff);
        answered(name("a tag"), Frame { tags: vec![Tag(VLAN, 7)], ..request.clone() }, 0xffff, 0xffff);
        answered(name("a DSCP"), Frame { tos: 0xb8, ..request.clone() }, 0xffff, 0xffff);
        answered(name("the last hop"), Frame { ttl: 1, ..request.clone() }, 0xffff, 0xffff);
        let zeroes = echo(client, service.vip, true, 0, 0, []);
        answered(name("no number"), zeroes, 0, 0);
    }
    rows.extend(others());
    rows
}

fn others() -> Vec<Row> {
    let (vip, vip6) = (MODES[0].vip, MODES[1].vip);
    let request = |to, data: &[u8]| echo(CLIENT, to, true, 1, 2, data);
    let mut rows = vec![
        Row::same("another host", request("192.0.2.99", b"x"), "other_protocol"),
        Row::same("another host, IPv6", echo(CLIENT6, "2001:db8:9::9", true, 1, 2, b"x"), "other_protocol"),
        Row::same("echo is the host's here", request(named("no echo").vip, b"x"), "other_protocol"),
        Row::same("a reply", echo(CLIENT, vip, false, 1, 2, b"x"), "other_protocol"),
        Row::same("a reply, IPv6", echo(CLIENT6, vip6, false, 1, 2, b"x"), "other_protocol"),
    ];
    for source in ["255.255.255.255", "0.0.0.0", "127.0.0.1", "224.0.0.1", vip] {
        rows.push(Row::dropped(source, echo(source, vip, true, 1, 2, b"x"), "martian_source"));
    }
    for source in ["::", "::1", "ff02::1", vip6] {
        rows.push(Row::dropped(source, echo(source, vip6, true, 1, 2, b"x"), "martian_source"));
    }
    let broadcast = Frame { mac_destination: [0xff; 6], ..request(vip, b"x") };
    rows.push(Row::same("by broadcast on the link", broadcast, "link_group"));
    let long = request(vip, b"x").lying(Lies { length: Some(60), ..Lies::default() });
    rows.push(Row::dropped("longer than its frame", long, "malformed"));
    let short = request(vip, b"x").lying(Lies { length: Some(27), ..Lies::default() });
    rows.push(Row::dropped("shorter than its header", short, "malformed"));
    rows
}
