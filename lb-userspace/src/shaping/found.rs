//! What is there: a device's queue, and what Weir may do with it.

use std::collections::BTreeMap;

use lb_common::abi::Class;

use crate::netlink::qdisc::Qdisc;

/// How packets wait at a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Until their time has come.
    Timed,
    /// By their class.
    Classed,
}

/// A device's own queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// `fq`, of all packets.
    Timed,
    /// Weir's, in whose classes so many bytes may wait.
    Own(BTreeMap<u16, u32>),
    /// One that the kernel made by itself.
    Default,
    /// One that somebody else has set up: its kind.
    Foreign(String),
}

impl Found {
    /// The queue of a device, of all that there are.
    pub(super) fn of(ifindex: u32, all: &[Qdisc]) -> Self {
        let here = || all.iter().filter(|qdisc| qdisc.ifindex == ifindex);
        // A device that has none says nothing.
        let Some(root) = here().find(|qdisc| qdisc.parent.is_none()) else { return Self::Default };
        let below = || here().filter(|qdisc| qdisc.parent.is_some_and(|parent| major(parent) == root.handle));
        if root.kind == "fq" || root.kind == "mq" && below().count() > 0 && below().all(|qdisc| qdisc.kind == "fq") {
            Self::Timed
        } else if is_own(root) {
            let limit = |qdisc: &Qdisc| Some((minor(qdisc.parent?)?, qdisc.limit?));
            Self::Own(below().filter_map(limit).collect())
        } else if root.handle == 0 {
            Self::Default
        } else {
            Self::Foreign(root.kind.clone())
        }
    }
}

/// Whether a queue is Weir's, of whatever run.
pub(super) fn is_own(qdisc: &Qdisc) -> bool {
    qdisc.parent.is_none() && qdisc.handle == Class::QUEUE && qdisc.kind == "htb"
}

const fn major(handle: u32) -> u32 {
    handle & 0xffff_0000
}

/// The number of a class of Weir's.
pub(super) fn minor(handle: u32) -> Option<u16> {
    u16::try_from(handle & 0xffff).ok().filter(|_| major(handle) == Class::QUEUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qdisc(handle: u32, parent: Option<u32>, kind: &str) -> Qdisc {
        let limit = (kind == "bfifo").then_some(9000);
        Qdisc { ifindex: 7, handle, parent, kind: kind.into(), limit }
    }

    fn found(here: &[Qdisc]) -> Found {
        let mut all = vec![Qdisc { ifindex: 8, ..qdisc(0x10_0000, None, "tbf") }];
        all.extend_from_slice(here);
        Found::of(7, &all)
    }

    #[test]
    fn whose_a_queue_is() {
        const CLSACT: u32 = 0xffff_fff1;
        assert_eq!(found(&[]), Found::Default);
        for kind in ["noqueue", "pfifo_fast", "fq_codel", "mq"] {
            assert_eq!(found(&[qdisc(0xffff_0000, Some(CLSACT), "clsact"), qdisc(0, None, kind)]), Found::Default);
        }
        assert_eq!(found(&[qdisc(0x8001_0000, None, "fq_codel")]), Found::Foreign("fq_codel".into()));
        assert_eq!(found(&[qdisc(0x1_0000, None, "htb")]), Found::Foreign("htb".into()), "not Weir's");
        assert_eq!(found(&[qdisc(Class::QUEUE, None, "prio")]), Found::Foreign("prio".into()), "not Weir's either");
        let own = [qdisc(Class::QUEUE, None, "htb"), qdisc(0x8002_0000, Some(Class::QUEUE | 0x102), "bfifo")];
        assert_eq!(found(&own), Found::Own([(0x102, 9000)].into()));
    }

    #[test]
    fn whether_packets_can_be_given_a_time() {
        assert_eq!(found(&[qdisc(0, None, "fq")]), Found::Timed);
        assert_eq!(found(&[qdisc(0x8001_0000, None, "fq")]), Found::Timed);
        let mq = |second: &str| {
            let (one, two) = (Some(0x8001_0001), Some(0x8001_0002));
            found(&[qdisc(0x8001_0000, None, "mq"), qdisc(0, one, "fq"), qdisc(0, two, second)])
        };
        assert_eq!(mq("fq"), Found::Timed);
        assert_eq!(mq("fq_codel"), Found::Foreign("mq".into()));
    }
}
