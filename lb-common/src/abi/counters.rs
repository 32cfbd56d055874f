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

/// What a limit said, in packets, and what became of its buckets.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitCount {
    /// Within the limit.
    pub admitted: u64,
    /// Over it, and dropped.
    pub over: u64,
    /// Over it, and marked.
    pub marked: u64,
    /// Over it, and let through: what would have been dropped.
    pub would_drop: u64,
    /// Over it, and let through later.
    pub delayed: u64,
    /// Buckets that were empty and became somebody else's.
    pub evicted_idle: u64,
    /// Buckets that were not, because no other was free: whose they became begins with what was in them.
    pub evicted_busy: u64,
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
        self.marked = self.marked.wrapping_add(other.marked);
        self.would_drop = self.would_drop.wrapping_add(other.would_drop);
        self.delayed = self.delayed.wrapping_add(other.delayed);
        self.evicted_idle = self.evicted_idle.wrapping_add(other.evicted_idle);
        self.evicted_busy = self.evicted_busy.wrapping_add(other.evicted_busy);
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
const _: () = assert!(size_of::<LimitCount>() == 56);
