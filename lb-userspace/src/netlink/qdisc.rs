//! Queueing disciplines (linux/pkt_sched.h, rtnetlink.h: `struct tcmsg`): those that Weir makes, and as much of others as tells
//! whether it may.

use super::message::{Request, attributes, string_of, u32_of};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;

/// `struct tcmsg`.
pub(super) const HEADER_LENGTH: usize = 20;

pub(super) const TCA_KIND: u16 = 1;
pub(super) const TCA_OPTIONS: u16 = 2;

/// `TC_H_ROOT`: the parent of a device's own queue.
const ROOT: u32 = 0xffff_ffff;

const TCA_HTB_INIT: u16 = 2;
const TCA_HTB_DIRECT_QLEN: u16 = 5;

/// The version of `struct tc_htb_glob` (`HTB_VER >> 16` of net/sched/sch_htb.c).
const HTB_VERSION: u32 = 3;

/// How many packets that are in no class may wait: as many as an Ethernet device's queue has (`DEFAULT_TX_QUEUE_LEN`).
const DIRECT_PACKETS: u32 = 1000;

/// A queueing discipline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Qdisc {
    /// The device that it is of.
    pub(crate) ifindex: u32,
    /// Its number; 0 of one that the kernel has made by itself.
    pub(crate) handle: u32,
    /// The class that it is the queue of; `None` of a device's own.
    pub(crate) parent: Option<u32>,
    /// `htb`, `fq`, `bfifo`…
    pub(crate) kind: String,
    /// Of `bfifo`, how many bytes may wait.
    pub(crate) limit: Option<u32>,
}

pub(super) fn header(ifindex: u32, handle: u32, parent: u32) -> [u8; HEADER_LENGTH] {
    let mut header = [0; HEADER_LENGTH];
    for (at, word) in [(4, ifindex), (8, handle), (12, parent)] {
        header[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    header
}

/// A name as an attribute has it.
fn name(kind: &str) -> Vec<u8> {
    [kind.as_bytes(), &[0]].concat()
}

/// Asks for all of every device.
pub(crate) fn list() -> Request {
    Request::dump(RTM_GETQDISC, &header(0, 0, 0))
}

/// Reads one.
pub(crate) fn parse(payload: &[u8]) -> Option<Qdisc> {
    let header: &[u8; HEADER_LENGTH] = payload.first_chunk()?;
    let word = |at: usize| u32_of(&header[at..at + 4]);
    let (mut kind, mut options) = (String::new(), &[][..]);
    for (attribute, value) in attributes(payload, HEADER_LENGTH) {
        match attribute {
            TCA_KIND => kind = string_of(value)?,
            TCA_OPTIONS => options = value,
            _ => {}
        }
    }
    let limit = options.first_chunk().copied().map(u32::from_ne_bytes).filter(|_| kind == "bfifo");
    Some(Qdisc { ifindex: word(4)?, handle: word(8)?, parent: word(12).filter(|&parent| parent != ROOT), kind, limit })
        .filter(|qdisc| !qdisc.kind.is_empty())
}

/// Gives a device an `htb` queue in which what has no class goes at once. Refused (`EEXIST`) when somebody has given it another.
pub(crate) fn add_htb(ifindex: u32, handle: u32) -> Request {
    // struct tc_htb_glob: version, quantum by rate, default class, two for answers.
    let init: Vec<u8> = [HTB_VERSION, 10, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Request::create(RTM_NEWQDISC, &header(ifindex, handle, ROOT))
        .attribute(TCA_KIND, &name("htb"))
        .nested(TCA_OPTIONS, &[(TCA_HTB_INIT, &init), (TCA_HTB_DIRECT_QLEN, &DIRECT_PACKETS.to_ne_bytes())])
}

/// Takes a device's queue away if it has this number: the kernel gives it a default one again.
pub(crate) fn remove(ifindex: u32, handle: u32) -> Request {
    Request::order(RTM_DELQDISC, &header(ifindex, handle, ROOT))
}

/// Gives a class a queue in which so many bytes may wait, or has its queue so.
pub(crate) fn set_leaf(ifindex: u32, class: u32, limit: u32) -> Request {
    Request::replace(RTM_NEWQDISC, &header(ifindex, 0, class))
        .attribute(TCA_KIND, &name("bfifo"))
        .attribute(TCA_OPTIONS, &limit.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::{Content, messages};

    #[test]
    fn a_queue_is_read() {
        let read = |request: Request| {
            let mut datagram = Vec::new();
            request.emit(0, &mut datagram);
            let Content::Family(_, payload) = messages(&datagram).next().unwrap().content else { panic!() };
            parse(payload)
        };
        let leaf = Qdisc { ifindex: 7, handle: 0, parent: Some(0x7769_0102), kind: "bfifo".into(), limit: Some(9000) };
        assert_eq!(read(set_leaf(7, 0x7769_0102, 9000)), Some(leaf));
        let root = Qdisc { ifindex: 7, handle: 0x7769_0000, parent: None, kind: "htb".into(), limit: None };
        assert_eq!(read(add_htb(7, 0x7769_0000)), Some(root));
        assert_eq!(read(Request::get(RTM_GETQDISC, &[0; 19])), None);
    }
}
