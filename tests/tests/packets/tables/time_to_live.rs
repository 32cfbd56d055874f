//! Times to live (RFC 791 §3.2, RFC 8200 §3) at their ends. Whoever sent what ends here is told (RFC 1812 §5.3.1, RFC 4443
//! §3.3).

use weir_tests::frame::{ACK, Frame, tcp};

use super::Row;
use super::cast::{Forward, MODES, WEB};
use super::modes::row;
use super::mtu::error;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for service in &MODES {
        let frame = |ttl| Frame { ttl, ..tcp(service.client(), service.at(WEB), ACK) };
        rows.push(row(service, "255", frame(255)));
        rows.push(row(service, "2", frame(2)));
        // Among those on one link with their backends nobody is a router.
        let ends_at = if service.forward == Forward::L2 { 0 } else { 1 };
        if ends_at == 0 {
            rows.push(row(service, "1", frame(1)));
        }
        for ttl in 0..=ends_at {
            let input = frame(ttl);
            let (kind, code) = if service.is_v4() { (11, 0) } else { (3, 0) };
            let answer = error(service.vip, &input, kind, code, [0; 4]);
            rows.push(Row::answered(format!("{}: {ttl}", service.name), input, answer, "ttl_expired"));
        }
    }
    rows
}
