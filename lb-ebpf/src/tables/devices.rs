//! Devices.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use lb_common::abi::{Device, DeviceFlags};

use super::maps::DEVICES;

/// The device by which the frame came in.
#[inline(always)]
pub fn ingress(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the kernel gave this context to the running program.
    unsafe { (*ctx).ingress_ifindex }
}

/// The device that a frame came in by, at which a tc program runs.
#[inline(always)]
pub fn device_at(ctx: *mut __sk_buff) -> (u32, u32) {
    // SAFETY: the kernel gave this context to the running program.
    let ifindex = unsafe { (*ctx).ifindex };
    (ifindex, device_flags(ifindex))
}

/// Whether the frame came in by a device where the packet path has seen it.
#[inline(always)]
pub fn was_seen(ctx: *mut __sk_buff) -> bool {
    // SAFETY: the kernel gave this context to the running program.
    let ingress = unsafe { (*ctx).ingress_ifindex };
    ingress != 0 && device_flags(ingress) & DeviceFlags::ATTACHED != 0
}

/// A device as the controller knows it, or one of which it knows nothing.
#[inline(always)]
pub fn device_of(ifindex: u32) -> Device {
    // SAFETY: not preallocated (see `DEVICES`): an element is not used again while a program has it.
    unsafe { DEVICES.get(ifindex) }.copied().unwrap_or_default()
}

#[inline(always)]
fn device_flags(ifindex: u32) -> u32 {
    // SAFETY: not preallocated (see `DEVICES`): an element is not used again while a program has it.
    unsafe { DEVICES.get(ifindex) }.map_or(0, |device| device.flags)
}
