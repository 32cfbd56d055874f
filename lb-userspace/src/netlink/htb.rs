//! Classes of the queueing discipline `htb` (linux/pkt_sched.h): each a rate, and a queue for what is over it.

use super::message::{Request, attributes, string_of, u32_of, u64_of};
use super::qdisc::{HEADER_LENGTH, TCA_KIND, TCA_OPTIONS, header};

const RTM_NEWTCLASS: u16 = 40;
const RTM_DELTCLASS: u16 = 41;
const RTM_GETTCLASS: u16 = 42;

const TCA_HTB_PARMS: u16 = 1;
const TCA_HTB_RATE64: u16 = 6;
const TCA_HTB_CEIL64: u16 = 7;

/// `struct tc_ratespec`, and where `struct tc_htb_opt` has what: `rate`, `ceil`, `buffer`, `cbuffer`, `quantum`, `level`, `prio`.
const RATE_LENGTH: usize = 12;
const RATE: usize = 8;
const BUFFER: usize = 2 * RATE_LENGTH;
const CBUFFER: usize = BUFFER + 4;
const QUANTUM: usize = CBUFFER + 4;
const OPTIONS_LENGTH: usize = 44;

/// `TC_LINKLAYER_ETHERNET`: lengths are what they are, and no table of times has to be given.
const ETHERNET: u8 = 1;

/// A tick of the scheduler's clock, in nanoseconds (`PSCHED_SHIFT` of include/net/pkt_sched.h).
const TICK_NS: u64 = 64;

/// How much a class sends at once, as a time, in nanoseconds: less than how late a timer may be would cost it its rate.
const BURST_NS: u64 = 10_000_000;

/// How many bytes a class sends before the next one has its turn. As there is no rate that they share it does not matter; the
/// kernel would compute another one from the rate, and complain.
const QUANTUM_BYTES: u32 = 60_000;

/// A class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class {
    /// Its number, with the queue's in the upper half.
    pub(crate) handle: u32,
    /// In bytes per second, as they are on the wire.
    pub(crate) rate: u64,
}

/// Asks for all of a device.
pub(crate) fn list(ifindex: u32) -> Request {
    Request::dump(RTM_GETTCLASS, &header(ifindex, 0, 0))
}

/// Reads one.
pub(crate) fn parse(payload: &[u8]) -> Option<Class> {
    let head: &[u8; HEADER_LENGTH] = payload.first_chunk()?;
    let (mut is_htb, mut short, mut long) = (false, None, None);
    for (attribute, value) in attributes(payload, HEADER_LENGTH) {
        match attribute {
            TCA_KIND => is_htb = string_of(value).as_deref() == Some("htb"),
            TCA_OPTIONS => {
                for (attribute, value) in attributes(value, 0) {
                    match attribute {
                        TCA_HTB_PARMS => short = value.get(RATE..RATE + 4).and_then(u32_of),
                        TCA_HTB_RATE64 => long = u64_of(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let rate = long.or(short.map(u64::from))?;
    is_htb.then_some(Class { handle: u32_of(&head[8..12])?, rate })
}

/// Makes a class of the queue that its number names, or has it so. It borrows from nobody.
pub(crate) fn set(ifindex: u32, class: Class, frame: u32) -> Request {
    let Class { handle, rate } = class;
    let request = Request::replace(RTM_NEWTCLASS, &header(ifindex, handle, handle & 0xffff_0000));
    let request = request.attribute(TCA_KIND, b"htb\0");
    let (parameters, long) = (parameters(rate, frame), rate.to_ne_bytes());
    let rate64 = [(TCA_HTB_PARMS, &parameters[..]), (TCA_HTB_RATE64, &long), (TCA_HTB_CEIL64, &long)];
    let is_long = u32::try_from(rate).is_err();
    request.nested(TCA_OPTIONS, if is_long { &rate64 } else { &rate64[..1] })
}

/// `struct tc_htb_opt` of a class that sends frames of up to so many bytes.
fn parameters(rate: u64, frame: u32) -> [u8; OPTIONS_LENGTH] {
    let mut options = [0; OPTIONS_LENGTH];
    let mut put = |at: usize, word: u32| options[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    let frame_ns = (u64::from(frame) * 1_000_000_000).div_ceil(rate.max(1));
    let burst = u32::try_from(frame_ns.max(BURST_NS).div_ceil(TICK_NS)).unwrap_or(u32::MAX);
    for at in [0, RATE_LENGTH] {
        put(at + RATE, u32::try_from(rate).unwrap_or(u32::MAX));
    }
    put(BUFFER, burst);
    put(CBUFFER, burst);
    put(QUANTUM, QUANTUM_BYTES);
    options[1] = ETHERNET;
    options[RATE_LENGTH + 1] = ETHERNET;
    options
}

/// Takes a class away, and what waits in it.
pub(crate) fn remove(ifindex: u32, handle: u32) -> Request {
    Request::order(RTM_DELTCLASS, &header(ifindex, handle, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::{Content, messages};

    #[test]
    fn a_class_is_read_as_it_was_written() {
        for rate in [1, 1_000, 6_250_000, u64::from(u32::MAX), 1 << 32, 100_000_000_000] {
            let class = Class { handle: 0x7769_0102, rate };
            let mut datagram = Vec::new();
            set(7, class, 1514).emit(0, &mut datagram);
            let Content::Family(_, payload) = messages(&datagram).next().unwrap().content else { panic!() };
            assert_eq!(parse(payload), Some(class));
        }
    }

    #[test]
    fn a_class_sends_a_frame_at_once_and_a_millisecond_of_its_rate() {
        let burst = |rate| u32_of(&parameters(rate, 1514)[BUFFER..BUFFER + 4]).unwrap();
        assert_eq!(burst(1_514), 1_000_000_000 / 64);
        assert_eq!(burst(6_250_000), 10_000_000 / 64);
        assert_eq!(burst(1), u32::MAX, "as much as can be said");
    }
}
