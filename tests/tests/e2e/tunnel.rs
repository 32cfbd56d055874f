//! A balancer made by hand, which wraps what clients send.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_tests::lab::{BACK, FRONT, FrameSocket, HOST_DEVICE, Lab, WEIR_BACK_V4, WEIR_BACK_V6, Worker, vip_v4, vip_v6};

use crate::craft::{Way, udp};

/// The default of `weir decap`.
const GUE_PORT: u16 = 6080;
/// What the lab's links carry.
pub(crate) const MTU: usize = 1500;

/// How a tunnel is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tunnel {
    pub(crate) outer_v4: bool,
    pub(crate) gue: bool,
}

impl Tunnel {
    /// RFC 791, 8200, 768.
    pub(crate) fn overhead(self) -> usize {
        (if self.outer_v4 { 20 } else { 40 }) + if self.gue { 8 } else { 0 }
    }

    /// An IP packet in a frame for the backend.
    fn wrap(self, lab: &Lab, ethernet: [[u8; 6]; 2], inner: &[u8]) -> Vec<u8> {
        let backend = &lab.backends[0];
        let protocol = match (self.gue, inner[0] >> 4) {
            (true, _) => 17,
            (false, 4) => 4,
            (false, _) => 41,
        };
        let ports = [50_000, GUE_PORT];
        if self.outer_v4 {
            let way = Way { ethernet, source: WEIR_BACK_V4, destination: backend.v4 };
            let payload = if self.gue { udp(&way.pseudo(), ports, inner) } else { inner.to_vec() };
            way.packet(protocol, &[], 0x4000, &payload)
        } else {
            let way = Way { ethernet, source: WEIR_BACK_V6, destination: backend.v6 };
            let payload = if self.gue { udp(&way.pseudo(), ports, inner) } else { inner.to_vec() };
            way.packet(protocol, &payload)
        }
    }
}

/// A balancer made by hand: wraps what clients send to the VIPs, until it is dropped.
pub(crate) struct Balancer {
    _worker: Worker,
}

impl Balancer {
    pub(crate) fn start(lab: &Arc<Lab>, tunnel: Tunnel) -> Self {
        let front = FrameSocket::open(&lab.weir, FRONT).unwrap();
        let back = FrameSocket::open(&lab.weir, BACK).unwrap();
        let ethernet = [lab.backends[0].netns.mac(HOST_DEVICE).unwrap(), lab.weir.mac(BACK).unwrap()];
        let lab = Arc::clone(lab);
        let worker = Worker::start("balancer", move |stop| {
            while !stop.load(Ordering::Relaxed) {
                let Some(frame) = front.receive(Duration::from_millis(20)).unwrap() else { continue };
                if let Some(inner) = for_a_vip(&frame) {
                    let wrapped = tunnel.wrap(&lab, ethernet, inner);
                    assert!(wrapped.len() <= 14 + MTU, "a packet of {} bytes does not fit: black hole", inner.len());
                    back.send(&wrapped).unwrap();
                }
            }
        });
        Self { _worker: worker.unwrap() }
    }
}

/// The packet of a frame, if it goes to a VIP.
fn for_a_vip(frame: &[u8]) -> Option<&[u8]> {
    let octets = |address| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let is_to = |at: usize, vip| frame.get(at..).is_some_and(|rest| rest.starts_with(&octets(vip)));
    match frame.get(12..14)? {
        [0x08, 0x00] if is_to(30, vip_v4(10)) => {
            let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            Some(&frame[14..14 + length])
        }
        [0x86, 0xdd] if is_to(38, vip_v6(10)) => {
            let length = 40 + usize::from(u16::from_be_bytes([frame[18], frame[19]]));
            Some(&frame[14..14 + length])
        }
        _ => None,
    }
}
