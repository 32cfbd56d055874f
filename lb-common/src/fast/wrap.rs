//! Into a tunnel of the packet's own family.

use network_types::eth::EtherType;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;

use crate::abi::{Delivery, Lane};
use crate::checksum::{self, Sum};
use crate::forward::tunnel::{DONT_FRAGMENT, TTL, flow_label, source_port};
use crate::packet::{ANY_PATH_V4, ANY_PATH_V6, Front, FrontMut, Fronted};
use crate::parse::{L3, UDP};
use crate::tables::{BackendCell, Tables};
use crate::{Address, hash};

use super::family::{Family, V4, V6};

/// A backend whose packets are wrapped here, and what its row says of it.
pub(super) struct Chosen<C> {
    cell: C,
    /// Its row's, before anything else was read of it.
    version: u32,
    gue: bool,
}

impl<C: BackendCell> Chosen<C> {
    /// The backend `id`, unless packets of so many bytes go to it by other ways, or its row is being written.
    #[inline(always)]
    pub(super) fn of<'a, F: Wrap, T: Tables<Backend<'a> = C>>(tables: &'a T, id: u32, length: u32) -> Option<Self> {
        let cell = tables.backend_cell(id)?;
        let version = cell.version();
        let gue = match cell.lane() {
            lane if lane == F::LANE => false,
            Lane::GUE_V4 if F::GUE => true,
            _ => return None,
        };
        // Of larger ones it is asked what was told of the path.
        let whole = version & 1 == 0 && (length <= F::ANY_PATH || !tables.has_told_paths());
        whole.then_some(Self { cell, version, gue })
    }

    /// Whether all that was read of the row until now is one backend's.
    #[inline(always)]
    fn is_whole(&self) -> bool {
        self.cell.version() == self.version
    }
}

/// A family whose packets are wrapped in its own.
pub(super) trait Wrap: Family {
    /// Its tunnels' lane.
    const LANE: u8;
    /// Whether it does [`Lane::GUE_V4`], too.
    const GUE: bool;
    /// Every path takes packets of so many bytes.
    const ANY_PATH: u32;

    /// Wraps a packet; gives the device that it leaves by, and whether it has to be redirected there. `None`, and the packet as
    /// it came, when that has to be looked at more closely.
    fn wrap<P: Fronted + ?Sized, T: Tables>(
        packet: &mut P,
        tables: &T,
        to: &Chosen<T::Backend<'_>>,
    ) -> Option<(u32, bool)>;
}

/// Bytes of an Ethernet header's addresses, behind which its type is.
const MACS: usize = 12;

impl Wrap for V4 {
    const LANE: u8 = Lane::IPIP_V4;
    const GUE: bool = true;
    const ANY_PATH: u32 = ANY_PATH_V4;

    #[inline(always)]
    fn wrap<P: Fronted + ?Sized, T: Tables>(
        packet: &mut P,
        tables: &T,
        to: &Chosen<T::Backend<'_>>,
    ) -> Option<(u32, bool)> {
        if to.gue { wrap_v4::<P, T, true>(packet, tables, to) } else { wrap_v4::<P, T, false>(packet, tables, to) }
    }
}

#[inline(always)]
fn wrap_v4<P: Fronted + ?Sized, T: Tables, const GUE: bool>(
    packet: &mut P,
    tables: &T,
    to: &Chosen<T::Backend<'_>>,
) -> Option<(u32, bool)> {
    /// Where the inner header is then.
    const IPIP: usize = L3 + Ipv4Hdr::LEN;
    const GUEST: usize = IPIP + UdpHdr::LEN;
    let overhead = if GUE { Ipv4Hdr::LEN + UdpHdr::LEN } else { Ipv4Hdr::LEN };
    let front = V4::front(packet)?;
    #[expect(clippy::cast_possible_truncation, reason = "a header's length")]
    let length = V4::length(&front) + overhead as u32;
    if V4::ttl(&front) <= 1 || length > to.cell.mtu() {
        return None;
    }
    let entropy =
        if GUE { hash::entropy(V4::source(&front), V4::source_port(&front), V4::destination(&front).port) } else { 0 };
    let settings = tables.settings()?;
    let [.., source] = settings.tunnel_v4.words();
    if source == 0 {
        return None;
    }
    packet.grow(overhead)?;
    let (macs, [.., destination], (delivery, ifindex)) = (to.cell.macs(), to.cell.address().words(), to.cell.way());
    if !to.is_whole() {
        // Nothing was written yet.
        packet.shrink(overhead)?;
        return None;
    }
    // What was long enough is longer now.
    let mut front = packet.front_mut::<{ GUEST + 12 }>()?;
    front.put::<0, MACS>(macs);
    front.put::<MACS, 2>((EtherType::Ipv4 as u16).to_ne_bytes());
    // Version, type of service (RFC 6040 §4.1, RFC 2983) and length: those of the inner header, which has no options either,
    // but for what comes in front of it.
    let inner = u32::from_be_bytes(if GUE { front.at::<GUEST, 4>() } else { front.at::<IPIP, 4>() });
    #[expect(clippy::cast_possible_truncation, reason = "a header's length")]
    let first = (inner + overhead as u32).to_be();
    let second = u32::from(DONT_FRAGMENT).to_be();
    let protocol = if GUE { UDP } else { IpProto::Ipv4 as u8 };
    let third = u32::from_ne_bytes([TTL, protocol, 0, 0]);
    let sum = Sum::none().add32(first).add32(second + third).add32(source).add32(destination);
    let third = third | u32::from(sum.checksum()) << 16;
    front.put::<L3, 4>(first.to_ne_bytes());
    front.put::<{ L3 + 4 }, 4>(second.to_ne_bytes());
    front.put::<{ L3 + 8 }, 4>(third.to_ne_bytes());
    front.put::<{ L3 + 12 }, 4>(source.to_ne_bytes());
    front.put::<{ L3 + 16 }, 4>(destination.to_ne_bytes());
    if GUE {
        #[expect(clippy::cast_possible_truncation, reason = "below 65,536")]
        let length = (length - Ipv4Hdr::LEN as u32) as u16;
        front.put::<IPIP, 2>(source_port(entropy).to_be_bytes());
        front.put::<{ IPIP + 2 }, 2>(settings.gue_port.to_ne_bytes());
        front.put::<{ IPIP + 4 }, 2>(length.to_be_bytes());
        front.put::<{ IPIP + 6 }, 2>([0; 2]);
    }
    // To be forwarded into the tunnel is a hop (RFC 2003 §3.1).
    if GUE {
        lower_ttl::<{ GUEST + 8 }, { GUEST + 10 }>(&mut front)
    } else {
        lower_ttl::<{ IPIP + 8 }, { IPIP + 10 }>(&mut front)
    }
    Some((ifindex, delivery == Delivery::REDIRECT))
}

/// Takes one from an IPv4 header's time to live at `AT`.
#[inline(always)]
fn lower_ttl<const AT: usize, const CHECKSUM: usize>(front: &mut impl FrontMut) {
    let [ttl] = front.at::<AT, 1>();
    let checksum = checksum::after_ttl(u16::from_ne_bytes(front.at::<CHECKSUM, 2>()));
    front.put::<AT, 1>([ttl.wrapping_sub(1)]);
    front.put::<CHECKSUM, 2>(checksum.to_ne_bytes());
}

impl Wrap for V6 {
    const LANE: u8 = Lane::IPIP_V6;
    const GUE: bool = false;
    const ANY_PATH: u32 = ANY_PATH_V6;

    #[inline(always)]
    fn wrap<P: Fronted + ?Sized, T: Tables>(
        packet: &mut P,
        tables: &T,
        to: &Chosen<T::Backend<'_>>,
    ) -> Option<(u32, bool)> {
        /// Where the inner header is then.
        const INNER: usize = L3 + Ipv6Hdr::LEN;
        let front = V6::front(packet)?;
        #[expect(clippy::cast_possible_truncation, reason = "forty")]
        let overhead = Ipv6Hdr::LEN as u32;
        let length = V6::length(&front);
        if V6::ttl(&front) <= 1 || length + overhead > to.cell.mtu() {
            return None;
        }
        // The flow label spreads flows (RFC 6438).
        let port = V6::destination(&front).port;
        let label = flow_label(hash::entropy(V6::source(&front), V6::source_port(&front), port));
        let settings = tables.settings()?;
        if settings.tunnel_v6 == Address::default() {
            return None;
        }
        packet.grow(Ipv6Hdr::LEN)?;
        let (macs, destination, (delivery, ifindex)) = (to.cell.macs(), to.cell.address(), to.cell.way());
        if !to.is_whole() {
            // Nothing was written yet.
            packet.shrink(Ipv6Hdr::LEN)?;
            return None;
        }
        // What was long enough is longer now.
        let mut front = packet.front_mut::<{ INNER + Ipv6Hdr::LEN }>()?;
        front.put::<0, MACS>(macs);
        front.put::<MACS, 2>((EtherType::Ipv6 as u16).to_ne_bytes());
        // Version and traffic class (RFC 6040 §4.1, RFC 2983) are the inner header's.
        let inner = u32::from_be_bytes(front.at::<INNER, 4>());
        let first = inner & 0xfff0_0000 | label;
        front.put::<L3, 4>(first.to_be_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "not larger than the MTU")]
        let payload = (length as u16).to_be_bytes();
        front.put::<{ L3 + 4 }, 2>(payload);
        front.put::<{ L3 + 6 }, 2>([IpProto::Ipv6 as u8, TTL]);
        // Read again, as what was written meanwhile is as good: to keep it would be four words of the stack.
        front.put::<{ L3 + 8 }, 16>(settings.tunnel_v6.v6());
        front.put::<{ L3 + 24 }, 16>(destination.v6());
        // To be forwarded into the tunnel is a hop (RFC 2473 §3.1).
        let [hops] = front.at::<{ INNER + 7 }, 1>();
        front.put::<{ INNER + 7 }, 1>([hops.wrapping_sub(1)]);
        Some((ifindex, delivery == Delivery::REDIRECT))
    }
}
