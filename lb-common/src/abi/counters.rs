//! Counters, each kept per CPU and summed by the reader.

/// What a service or a backend carried.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets towards backends.
    pub packets: u64,
    /// Bytes of layer 3 towards backends.
    pub bytes: u64,
    /// Packets of replies, translated back to the VIP.
    pub reply_packets: u64,
    /// Bytes of layer 3 of replies.
    pub reply_bytes: u64,
}

/// What a limit admitted and refused.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitCount {
    /// Packets let through.
    pub admitted: u64,
    /// Packets refused.
    pub over: u64,
}

/// What is counted of all services together: how the flow table was used, and how many packets came otherwise than by XDP.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Lookups: packets of slots that hand over.
    pub lookups: u64,
    /// Flows that were remembered.
    pub remembered: u64,
    /// Flows that were not, because the table was full, or they came faster than it takes them.
    pub refused: u64,
    /// Packets that came from ports of bridges, or from this host itself to VIPs: counted like the others, and received by no
    /// device that XDP is attached to.
    pub inside: u64,
}

impl core::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.reply_packets = self.reply_packets.wrapping_add(other.reply_packets);
        self.reply_bytes = self.reply_bytes.wrapping_add(other.reply_bytes);
    }
}

impl core::ops::AddAssign for LimitCount {
    fn add_assign(&mut self, other: Self) {
        self.admitted = self.admitted.wrapping_add(other.admitted);
        self.over = self.over.wrapping_add(other.over);
    }
}

impl core::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.lookups = self.lookups.wrapping_add(other.lookups);
        self.remembered = self.remembered.wrapping_add(other.remembered);
        self.refused = self.refused.wrapping_add(other.refused);
        self.inside = self.inside.wrapping_add(other.inside);
    }
}

const _: () = assert!(size_of::<Tally>() == 32);
const _: () = assert!(size_of::<Traffic>() == 32);
const _: () = assert!(size_of::<LimitCount>() == 16);
