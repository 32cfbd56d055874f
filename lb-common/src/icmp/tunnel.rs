//! What routers say of the paths that tunnels take.

use core::mem::offset_of;

use network_types::ip::Ipv4Hdr;

use super::{FRAGMENTATION_NEEDED, HEADER_LEN, kind, sound};
use crate::Address;
use crate::abi::PathMtu;
use crate::headers::Headers;
use crate::packet::{ANY_PATH_V4, ANY_PATH_V6, Packet};
use crate::parse::UDP;
use crate::tables::Tables;

/// Learns what an error says of the path to a tunnel's far end; says whether there is such a tunnel.
#[inline(always)]
pub(super) fn learn<P: Packet + ?Sized, T: Tables>(packet: &P, tables: &T, headers: &Headers) -> Option<bool> {
    let l4 = usize::from(headers.l4);
    let quote = l4 + HEADER_LEN;
    let (source, far_end, protocol, ports, mtu) = if headers.v4 {
        let [code] = packet.read(l4 + 1)?;
        if headers.icmp_type != kind::V4_UNREACHABLE || code != FRAGMENTATION_NEEDED {
            return None;
        }
        let [first] = packet.read(quote)?;
        let [protocol] = packet.read(quote + offset_of!(Ipv4Hdr, proto))?;
        let mtu = u32::from(u16::from_be_bytes(packet.read(l4 + 6)?));
        let source = Address::from_v4(packet.read(quote + 12)?);
        let far_end = Address::from_v4(packet.read(quote + 16)?);
        // Routers of before RFC 1191 say 0, which is no less than what every path takes.
        (source, far_end, protocol, quote + usize::from(first & 0x0f) * 4, mtu.max(ANY_PATH_V4))
    } else {
        if headers.icmp_type != kind::V6_TOO_BIG {
            return None;
        }
        let [protocol] = packet.read(quote + 6)?;
        let mtu = u32::from_be_bytes(packet.read(l4 + 4)?);
        let source = Address::from_v6(packet.read(quote + 8)?);
        let far_end = Address::from_v6(packet.read(quote + 24)?);
        (source, far_end, protocol, quote + 40, mtu.max(ANY_PATH_V6))
    };
    let tunnel = match protocol {
        UDP => packet.read(ports + 2).map(u16::from_ne_bytes) == tables.settings().map(|settings| settings.gue_port),
        // IPv4 and IPv6 in whatever it is.
        4 | 41 => true,
        _ => false,
    };
    if !tunnel || source != headers.destination.address || sound(headers).is_err() {
        return None;
    }
    let known = tables.path_mtu(&far_end)?;
    let now_s = tables.now_s();
    // No such message makes an estimate larger (RFC 8201 §4): it ends by itself.
    if known.mtu == 0 || mtu < known.mtu || now_s.wrapping_sub(known.told_s) >= PathMtu::LIFETIME_S {
        tables.learn_path_mtu(&far_end, PathMtu { mtu, told_s: now_s });
    } else if !tables.has_told_paths() {
        // Programs that these have replaced learnt it meanwhile: nobody would look there.
        tables.learn_path_mtu(&far_end, known);
    }
    Some(true)
}
