//! What becomes of a frame when it leaves the program: the verdicts that are more than a number, and the marks by which one
//! program tells the next what it did.

use aya_ebpf::bindings::tcx_action_base::TCX_NEXT;
use aya_ebpf::bindings::{__sk_buff, BPF_F_INGRESS, xdp_md};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::helpers::generated::{
    bpf_redirect_neigh, bpf_redirect_peer, bpf_skb_change_type, bpf_skb_vlan_pop, bpf_xdp_adjust_meta,
};
use lb_common::abi::{Delivery, Note};

use crate::frame::{copy_from, copy_to};
use crate::tables;

/// `PACKET_HOST` (include/uapi/linux/if_packet.h).
const PACKET_HOST: u32 = 0;

/// What a tc program says to another one of a frame that it has rewritten.
const REWRITTEN: u32 = 0x7769;

/// Sends the frame out of another device.
#[inline(always)]
pub fn redirect(ifindex: u32) -> u32 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

/// Leaves a frame to the tc program, with what that has to do.
#[inline(always)]
pub fn hand(ctx: *mut xdp_md, ifindex: u32, delivery: u16) {
    // SAFETY: a helper that makes room in front of the frame, or fails.
    if unsafe { bpf_xdp_adjust_meta(ctx, -(Note::LEN as i32)) } == 0 {
        // SAFETY: the kernel gave this context to the running program.
        let (meta, data) = unsafe { ((*ctx).data_meta as usize, (*ctx).data as usize) };
        if meta + Note::LEN <= data {
            // SAFETY: just compared with its end.
            unsafe { copy_to::<0, { Note::LEN }>(meta as *mut u8, Note { delivery, ifindex }.to_bytes()) };
        }
        return;
    }
    // The driver knows no metadata: the stack has to take it, which looks whether it is meant.
    let mac = tables::device_of(tables::ingress(ctx)).mac;
    if delivery == Delivery::STACK || mac == [0; 6] {
        return;
    }
    // SAFETY: as above.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    if data + mac.len() <= end {
        // SAFETY: just compared with its end.
        unsafe { copy_to::<0, 6>(data as *mut u8, mac) };
    }
}

/// What XDP has left to do with a frame, if anything.
#[inline(always)]
pub fn handed(ctx: *mut __sk_buff) -> Option<Note> {
    // SAFETY: the kernel gave this context to the running program.
    let (meta, data) = unsafe { ((*ctx).data_meta as usize, (*ctx).data as usize) };
    if meta + Note::LEN > data {
        return None;
    }
    // SAFETY: just compared with its end.
    Note::from_bytes(unsafe { copy_from::<0, { Note::LEN }>(meta as *const u8) })
}

/// Puts a frame where it goes. (`at_ingress`: it came in by a device; else it is about to leave by one.)
#[inline(always)]
pub fn deliver(ctx: *mut __sk_buff, delivery: u16, ifindex: u32, at_ingress: bool) -> i32 {
    // SAFETY: the kernel gave this context to the running program; helpers without pointers.
    let action = unsafe {
        match delivery {
            Delivery::PEER if at_ingress => {
                // The tag that the NIC took out is of the network outside.
                if (*ctx).vlan_present != 0 {
                    bpf_skb_vlan_pop(ctx);
                }
                // Its Ethernet address is not the device's by which it came.
                bpf_skb_change_type(ctx, PACKET_HOST);
                bpf_redirect_peer(ifindex, 0)
            }
            Delivery::STACK => i64::from(TCX_NEXT),
            Delivery::UP => bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)),
            Delivery::NEIGHBOUR => bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0),
            _ if !at_ingress && ifindex == (*ctx).ifindex => i64::from(TCX_NEXT),
            _ => bpf_redirect(ifindex, 0),
        }
    };
    // SAFETY: as above.
    unsafe { (*ctx).tc_index = REWRITTEN };
    action as i32
}

/// Whether a tc program of Weir's has rewritten the frame.
#[inline(always)]
pub fn is_rewritten(ctx: *mut __sk_buff) -> bool {
    // SAFETY: the kernel gave this context to the running program.
    unsafe { (*ctx).tc_index == REWRITTEN }
}

/// Takes the mark of one that was rewritten from a frame that a container sends on.
#[inline(always)]
pub fn unmark(ctx: *mut __sk_buff) {
    // SAFETY: the kernel gave this context to the running program.
    unsafe { (*ctx).tc_index = 0 };
}

/// Whether this host itself sends the frame.
#[inline(always)]
pub fn is_from_host(ctx: *mut __sk_buff) -> bool {
    // SAFETY: the kernel gave this context to the running program.
    unsafe { (*ctx).ingress_ifindex == 0 }
}

/// Whether the frame has a VLAN tag, which lies beside it.
#[inline(always)]
pub fn is_tagged(ctx: *mut __sk_buff) -> bool {
    // SAFETY: the kernel gave this context to the running program.
    unsafe { (*ctx).vlan_present != 0 }
}
