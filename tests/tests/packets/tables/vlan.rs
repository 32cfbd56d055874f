//! Tags of VLANs: packets come with up to two, and leave with those of their way (IEEE 802.1Q-2022).

use weir_tests::frame::{ACK, Frame, QINQ, Tag, VLAN, tcp};

use super::Row;
use super::cast::{CLIENT, MODES, TAGGED, WEB};
use super::modes::row;

pub(super) fn rows() -> Vec<Row> {
    let tags: [(&str, &[Tag]); 7] = [
        ("untagged", &[]),
        ("tagged", &[Tag(VLAN, 10)]),
        ("the tag of the way", &[Tag(VLAN, 100)]),
        ("a priority alone", &[Tag(VLAN, 0xe000)]),
        ("a provider's tag", &[Tag(QINQ, 20)]),
        ("QinQ", &[Tag(QINQ, 0x6014), Tag(VLAN, 30)]),
        ("two tags of one kind", &[Tag(VLAN, 1), Tag(VLAN, 4094)]),
    ];
    let mut rows = Vec::new();
    for service in MODES.iter().chain(&TAGGED) {
        for (what, tags) in tags {
            let frame = Frame { tags: tags.to_vec(), ..tcp(service.client(), service.at(WEB), ACK).sized(100) };
            rows.push(row(service, what, frame));
            let frame = Frame { tags: tags.to_vec(), ..service.datagram() };
            rows.push(row(service, what, frame));
        }
    }
    let web = tcp(MODES[0].client(), MODES[0].at(WEB), ACK);
    let three = vec![Tag(QINQ, 1), Tag(VLAN, 2), Tag(VLAN, 3)];
    rows.push(Row::same("three tags", Frame { tags: three, ..web.clone() }, "vlan_tag"));
    let one = Frame { tags: vec![Tag(VLAN, 10)], ..web };
    for bytes in [14, 15, 16, 17] {
        rows.push(Row::same(format!("a tag cut after {bytes} bytes"), one.clone().cut(bytes), "truncated"));
    }
    let stranger = tcp(weir_tests::frame::at(CLIENT, 1), weir_tests::frame::at("192.0.2.99", 80), ACK);
    rows.push(Row::same("a stranger's", Frame { tags: vec![Tag(VLAN, 10)], ..stranger.clone() }, "no_service"));
    rows.push(Row::same(
        "a stranger's QinQ",
        Frame { tags: vec![Tag(QINQ, 9), Tag(VLAN, 8)], ..stranger },
        "no_service",
    ));
    rows
}
