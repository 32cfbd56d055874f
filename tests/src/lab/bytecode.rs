//! Small programs for the traffic-control hooks, assembled here: the lab is built before there is a BPF toolchain.
//!
//! The encoding is RFC 9669's; the context is `struct __sk_buff` of linux/bpf.h.

use std::mem::{offset_of, size_of};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::libc;

use super::netns::Netns;

/// What the program returns for a packet that goes on (linux/bpf.h, `enum tcx_action_base`).
pub(super) const TCX_PASS: i32 = 0;
/// What it returns for one that ends.
pub(super) const TCX_DROP: i32 = 2;

/// Commands and constants of linux/bpf.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const SKB_VLAN_PUSH: i32 = 18;
const SKB_VLAN_POP: i32 = 19;
/// Fields of `struct __sk_buff`.
const PROTOCOL: i16 = 16;
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;
const VLAN_PROTO: i16 = 28;
/// The bits of a tag that are the VLAN's number.
const VLAN_NUMBER: i32 = 0x0fff;
/// Where the context is kept: what calls do not overwrite, and what loads from packets expect.
const CONTEXT: u8 = 6;

/// One instruction of eight bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// On which way a program sees packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Those that the device received.
    Ingress,
    /// Those that it is about to send.
    Egress,
}

/// A program that works on packets of a device for as long as this lives.
#[derive(Debug)]
pub(super) struct Attached {
    _link: OwnedFd,
}

/// A program in the making.
#[derive(Debug)]
pub(super) struct Program {
    instructions: Vec<Instruction>,
}

impl Program {
    pub(super) fn new() -> Self {
        let mut program = Self { instructions: vec![] };
        program.emit(0xbf, CONTEXT, 1, 0, 0); // r6 = r1
        program
    }

    fn emit(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        self.instructions.push(Instruction { code, registers: source << 4 | destination, offset, immediate });
    }

    /// Runs what `inside` emits only when the condition that `jump` (a jump's code) states of register 0 is *not* met.
    fn unless(&mut self, jump: u8, value: i32, inside: impl FnOnce(&mut Self)) {
        let at = self.instructions.len();
        self.emit(jump, 0, 0, 0, value);
        inside(self);
        let over = self.instructions.len() - at - 1;
        self.instructions[at].offset = i16::try_from(over).expect("a short program");
    }

    fn load_field(&mut self, field: i16) {
        self.emit(0x61, 0, CONTEXT, field, 0); // r0 = *(u32 *)(r6 + field)
    }

    /// Returns.
    pub(super) fn end(&mut self, verdict: i32) {
        self.emit(0xb7, 0, 0, 0, verdict); // r0 = verdict
        self.emit(0x95, 0, 0, 0, 0); // exit
    }

    /// For packets of this EtherType, behind a tag that the kernel has taken out.
    pub(super) fn when_protocol(&mut self, ethertype: u16, inside: impl FnOnce(&mut Self)) {
        self.load_field(PROTOCOL);
        self.unless(0x55, i32::from(ethertype.to_be()), inside); // if r0 != value
    }

    /// For packets that have a tag beside them.
    pub(super) fn when_tagged(&mut self, inside: impl FnOnce(&mut Self)) {
        self.load_field(VLAN_PRESENT);
        self.unless(0x15, 0, inside); // if r0 == 0
    }

    /// For packets with such a byte at this place; one that is shorter goes on untouched (RFC 9669 §5.2: the program
    /// returns 0).
    pub(super) fn when_byte(&mut self, at: i32, values: RangeInclusive<i32>, inside: impl FnOnce(&mut Self)) {
        self.emit(0x30, 0, 0, 0, at); // r0 = packet[at]
        self.unless(0xa5, *values.start(), |program| program.unless(0x25, *values.end(), inside)); // r0 <, r0 >
    }

    /// Ends unless the tag beside the packet is this one.
    pub(super) fn unless_tag_end(&mut self, kind: u16, vlan: u16, verdict: i32) -> &mut Self {
        self.load_field(VLAN_PROTO);
        self.unless(0x15, i32::from(kind.to_be()), |program| program.end(verdict));
        self.load_field(VLAN_TCI);
        self.emit(0x57, 0, 0, 0, VLAN_NUMBER); // r0 &= number
        self.unless(0x15, i32::from(vlan), |program| program.end(verdict));
        self
    }

    /// Puts a tag in front; register 0 is 0 when that worked.
    pub(super) fn push_tag(&mut self, kind: u16, vlan: u16) -> &mut Self {
        self.emit(0xb7, 2, 0, 0, i32::from(kind.to_be())); // r2 = kind
        self.emit(0xb7, 3, 0, 0, i32::from(vlan)); // r3 = vlan
        self.call(SKB_VLAN_PUSH)
    }

    /// Takes the outermost tag away; register 0 is 0 when that worked.
    pub(super) fn pop_tag(&mut self) -> &mut Self {
        self.call(SKB_VLAN_POP)
    }

    fn call(&mut self, helper: i32) -> &mut Self {
        self.emit(0xbf, 1, CONTEXT, 0, 0); // r1 = r6
        self.emit(0x85, 0, 0, 0, helper);
        self
    }

    /// Ends unless register 0 is 0.
    pub(super) fn unless_zero_end(&mut self, verdict: i32) {
        self.unless(0x15, 0, |program| program.end(verdict));
    }

    /// Loads it and attaches it to a device.
    pub(super) fn attach(&self, netns: &Netns, device: &str, direction: Direction) -> Result<Attached> {
        let index = netns.index(device)?;
        netns.run(|| {
            let kind = if direction == Direction::Ingress { BPF_TCX_INGRESS } else { BPF_TCX_EGRESS };
            link(&self.load()?, index, kind)
                .with_context(|| format!("cannot attach a program to the {direction:?} of {device} (Linux 6.6 can)"))
        })
    }

    fn load(&self) -> Result<OwnedFd> {
        let mut log = vec![0_u8; 65_536];
        let licence = c"Dual MIT/GPL";
        let attributes = ProgramLoad {
            kind: BPF_PROG_TYPE_SCHED_CLS,
            count: u32::try_from(self.instructions.len()).expect("a short program"),
            instructions: self.instructions.as_ptr() as u64,
            licence: licence.as_ptr() as u64,
            log_level: 1,
            log_size: u32::try_from(log.len()).expect("a small log"),
            log: log.as_mut_ptr() as u64,
        };
        bpf(BPF_PROG_LOAD, &attributes).with_context(|| {
            let said = log.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("the kernel does not take a program: {}", String::from_utf8_lossy(said))
        })
    }
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// The part that `BPF_LINK_CREATE` reads for a tcx link.
#[repr(C)]
struct LinkCreate {
    program: u32,
    device: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    revision: u64,
}

const _: () = assert!(size_of::<Instruction>() == 8);
const _: () = assert!(size_of::<ProgramLoad>() == 40 && offset_of!(ProgramLoad, log) == 32);
const _: () = assert!(size_of::<LinkCreate>() == 32 && offset_of!(LinkCreate, revision) == 24);

fn link(program: &OwnedFd, device: u32, attach_type: u32) -> Result<Attached> {
    let attributes =
        LinkCreate { program: descriptor(program), device, attach_type, flags: 0, relative: 0, pad: 0, revision: 0 };
    Ok(Attached { _link: bpf(BPF_LINK_CREATE, &attributes)? })
}

fn descriptor(file: &OwnedFd) -> u32 {
    u32::try_from(file.as_raw_fd()).expect("an open file's descriptor is not negative")
}

/// `bpf(2)` with a command that returns a descriptor.
#[expect(unsafe_code, reason = "no library that the lab may use makes this system call")]
fn bpf<T>(command: libc::c_long, attributes: &T) -> Result<OwnedFd> {
    // SAFETY: the attributes live through the call and are as long as is said; what they point to does, too, and is as
    // long as they say. The kernel writes nothing but the log, to which a mutable pointer was given.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let descriptor = nix::errno::Errno::result(result)?;
    let descriptor = i32::try_from(descriptor).context("a descriptor is an i32")?;
    // SAFETY: both commands return a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
