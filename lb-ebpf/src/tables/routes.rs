//! The kernel's routes and neighbours.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::bpf_fib_lookup;
use aya_ebpf::helpers::bpf_fib_lookup as fib_lookup;
use lb_common::Address;
use lb_common::abi::{Delivery, DeviceFlags, Tags};
use lb_common::tables::{Route, RouteQuery, WayOut};

use crate::frame::clear;

use super::device_of;
use super::maps::UNRESOLVED;

/// `BPF_FIB_LKUP_RET_NO_NEIGH` of include/uapi/linux/bpf.h: there is a route, but no neighbour for its next hop.
const NO_NEIGHBOUR: i64 = 7;

/// `BPF_FIB_LKUP_RET_NOT_FWDED`: it goes no further than this host.
const NOT_FORWARDED: i64 = 4;

/// The loopback device's index, in every network namespace (net/core/dev.c, `dev_index_reserve` of the first device).
const LOOPBACK: u32 = 1;

/// `BPF_FIB_LKUP_RET_FRAG_NEEDED`: the packet is larger than the way takes.
const TOO_BIG: i64 = 8;

/// Address families (include/linux/socket.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The ends of a question about routes.
#[inline(always)]
fn set_ends(params: &mut bpf_fib_lookup, source: &Address, destination: &Address) {
    if destination.is_v4() {
        params.family = AF_INET;
        params.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(source.v4());
        params.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(destination.v4());
    } else {
        params.family = AF_INET6;
        params.__bindgen_anon_3.ipv6_src = source.words();
        params.__bindgen_anon_4.ipv6_dst = destination.words();
    }
}

/// The device by which the stack sees what comes in by this one.
#[inline(always)]
fn upper(ifindex: u32) -> u32 {
    match device_of(ifindex).upper {
        0 => ifindex,
        upper => upper,
    }
}

/// The way to an address; see [`Tables::route`](lb_common::Tables::route).
#[inline(always)]
pub(super) fn route<const SKB: bool>(ctx: *mut c_void, query: &RouteQuery) -> WayOut {
    let mut params = MaybeUninit::<bpf_fib_lookup>::uninit();
    // SAFETY: integers and unions of integers: all zeroes is a value, and padding is what the helper wants zero.
    let params = unsafe {
        clear(params.as_mut_ptr());
        params.assume_init_mut()
    };
    params.l4_protocol = query.protocol;
    params.ifindex = if SKB { upper(query.ingress_ifindex) } else { query.ingress_ifindex };
    params.__bindgen_anon_1.tot_len = query.length;
    set_ends(params, &query.source, &query.destination);
    // SAFETY: the helper reads and writes `params`, which is its size, and the running program's context.
    let mut found = unsafe { fib_lookup(ctx, params, size_of::<bpf_fib_lookup>() as i32, 0) };
    if found == TOO_BIG {
        // SAFETY: the helper has just written it there.
        return WayOut::TooBig(u32::from(unsafe { params.__bindgen_anon_1.mtu_result }));
    }
    let mut delivery = Delivery::NONE;
    if SKB && found == NOT_FORWARDED {
        // It is for this host itself: as if it came from where the host's own packets to the VIP go.
        params.ifindex = upper(query.ingress_ifindex);
        params.__bindgen_anon_1.tot_len = 0;
        set_ends(params, &query.destination, &query.source);
        // SAFETY: as above.
        found = unsafe { fib_lookup(ctx, params, size_of::<bpf_fib_lookup>() as i32, 0) };
        delivery = Delivery::UP;
        if found == NOT_FORWARDED {
            params.ifindex = LOOPBACK;
        }
    } else if found == NO_NEIGHBOUR {
        if SKB {
            // Whoever redirects has it found, and keeps the packet until then.
            delivery = Delivery::NEIGHBOUR;
        } else {
            // The stack gets the packet, and would ask for the neighbour if it forwarded it; but it may drop it, as it
            // does when the VIP is an address of this host and so a martian source. The controller sees to it. An
            // error means that the ring is full of such already.
            let _: Result<(), i32> = UNRESOLVED.output(query.destination, 0);
        }
    }
    // Anything but 0 (BPF_FIB_LKUP_RET_SUCCESS) is for the stack: no route, no neighbour yet, forwarding off.
    if found != 0 && delivery == Delivery::NONE {
        return WayOut::Stack;
    }
    let device = device_of(params.ifindex);
    if delivery == Delivery::NONE {
        delivery = match device.flags {
            _ if SKB => Delivery::PORT,
            flags if flags & DeviceFlags::BRIDGE != 0 => Delivery::PORT,
            flags if flags & DeviceFlags::TRANSMIT == 0 => return WayOut::Stack,
            flags if flags & DeviceFlags::REDIRECT != 0 => Delivery::REDIRECT,
            _ => Delivery::DEVICE,
        };
    }
    let up = delivery == Delivery::UP;
    // Out of a device that tc puts frames into they get its tags from itself.
    let whole = SKB || delivery == Delivery::PORT;
    WayOut::Device(Route {
        ifindex: if whole { params.ifindex } else { device.link },
        mac_destination: if up { device.mac } else { params.dmac },
        mac_source: params.smac,
        tags: if whole { Tags::NONE } else { device.tags },
        delivery,
        scatter: whole || device.flags & DeviceFlags::SCATTER != 0,
    })
}
