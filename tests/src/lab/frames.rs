//! Raw Ethernet frames, sent and received as they are: for tests that compare byte for byte.
//!
//! An `AF_PACKET` socket (packet(7)) bound to one device. The kernel takes a VLAN tag out of a frame before such a
//! socket sees it and puts it beside it, in the control message `PACKET_AUXDATA`; it is put back in here.

use std::io::IoSliceMut;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind,
    recvmsg, setsockopt, socket, sockopt,
};

use super::netns::Netns;
use super::wait::wait_readable;

/// The longest frame there is, with room to spare.
pub(super) const LONGEST: usize = 65_536 + 64;
/// Where the VLAN tag is in a frame: after the two addresses.
const TAG_AT: usize = 12;

/// A socket for whole frames of one device.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
    device: String,
}

impl FrameSocket {
    /// Opens it. From now on every frame that arrives at the device is kept for [`FrameSocket::receive`].
    pub fn open(netns: &Netns, device: &str) -> Result<Self> {
        let index = netns.index(device)?;
        let socket = netns.run(|| open(index)).with_context(|| format!("cannot open a packet socket on {device}"))?;
        Ok(Self { socket, device: device.to_owned() })
    }

    /// Sends one frame, from its destination address to its last byte, out of the device.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = nix::unistd::write(&self.socket, frame)
            .with_context(|| format!("cannot send a frame of {} bytes on {}", frame.len(), self.device))?;
        anyhow::ensure!(sent == frame.len(), "sent {sent} of {} bytes on {}", frame.len(), self.device);
        Ok(())
    }

    /// The next frame that arrives at the device within this time; frames that it sends are not among them.
    pub fn receive(&self, within: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + within;
        let mut buffer = vec![0; LONGEST];
        while self.wait(deadline.saturating_duration_since(Instant::now()))? {
            if let Some(frame) = self.take(&mut buffer)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Gives the kernel room for so many bytes of frames that were not received yet. What it counts of a frame is the
    /// memory that it takes, which may be twice its length and more.
    pub(super) fn make_room(&self, bytes: usize) -> Result<()> {
        setsockopt(&self.socket, sockopt::RcvBufForce, &bytes).context("cannot give a packet socket room")
    }

    /// Waits until a frame is there, at most so long; whether one is.
    pub(super) fn wait(&self, within: Duration) -> Result<bool> {
        wait_readable(&self.socket, within).context("cannot wait for a frame")
    }

    /// The first frame to arrive within this time that is the one looked for; others are passed over, and described
    /// in the error when it does not come.
    pub fn expect(&self, within: Duration, is_it: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let deadline = Instant::now() + within;
        let mut others = Vec::new();
        while let Some(frame) = self.receive(deadline.saturating_duration_since(Instant::now()))? {
            if is_it(&frame) {
                return Ok(frame);
            }
            others.push(hex(&frame));
        }
        bail!(
            "the frame did not arrive at {} within {within:?}; what arrived ({}):\n{}",
            self.device,
            others.len(),
            others.join("\n")
        )
    }

    /// The next frame that is there, with nothing to wait for. `buffer` is as long as the longest one.
    pub(super) fn take(&self, buffer: &mut [u8]) -> Result<Option<Vec<u8>>> {
        loop {
            let mut control = nix::cmsg_space!([u8; size_of::<libc::tpacket_auxdata>()]);
            let mut parts = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let message = match recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                message => message.with_context(|| format!("cannot receive a frame of {}", self.device))?,
            };
            let from = message.address.context("the kernel did not say where a frame came from")?;
            if from.as_ref().sll_pkttype == libc::PACKET_OUTGOING {
                continue;
            }
            let tag = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Unknown(unknown) => vlan_tag(&unknown.data_bytes),
                _ => None,
            });
            let length = message.bytes;
            let frame = buffer.get(..length).context("a frame longer than any")?;
            return Ok(Some(match tag {
                Some(tag) => [&frame[..TAG_AT], &tag, &frame[TAG_AT..]].concat(),
                None => frame.to_vec(),
            }));
        }
    }

    /// How many frames the kernel had no room for since this was asked last.
    #[expect(unsafe_code, reason = "nix does not know the option PACKET_STATISTICS")]
    pub(super) fn missed(&self) -> Result<u64> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = libc::socklen_t::try_from(size_of::<libc::tpacket_stats>()).expect("a small size");
        // SAFETY: the descriptor is open, and the pointers are to a whole tpacket_stats and to its size, which live through
        // the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        Errno::result(result).context("cannot ask for PACKET_STATISTICS")?;
        Ok(u64::from(statistics.tp_drops))
    }
}

/// Reads `struct tpacket_auxdata` (linux/if_packet.h): three u32 (status, len, snaplen) and four u16 (mac, net,
/// vlan_tci, vlan_tpid), in the host's order.
fn vlan_tag(auxdata: &[u8]) -> Option<[u8; 4]> {
    let status = u32::from_ne_bytes(*auxdata.first_chunk()?);
    let tci = u16::from_ne_bytes(*auxdata.get(16..)?.first_chunk()?);
    let tpid = u16::from_ne_bytes(*auxdata.get(18..)?.first_chunk()?);
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some([a, b, c, d])
}

fn open(index: u32) -> Result<OwnedFd> {
    // Protocol 0 hears nothing until it is bound: no frame of another device gets in.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>)?;
    want_auxdata(&socket)?;
    bind(socket.as_raw_fd(), &every_frame_of(index)?)?;
    Ok(socket)
}

#[expect(unsafe_code, reason = "nix has no way to make a LinkAddr but from the C structure")]
fn every_frame_of(index: u32) -> Result<LinkAddr> {
    let all = u16::try_from(libc::ETH_P_ALL).expect("an EtherType").to_be();
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("an address family"),
        sll_protocol: all,
        sll_ifindex: i32::try_from(index).context("an interface index is an i32")?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("a small size");
    // SAFETY: the pointer is to a whole sockaddr_ll that lives through the call, its family is AF_PACKET and the length
    // is its size; nix copies it.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.context("nix takes a sockaddr_ll")
}

#[expect(unsafe_code, reason = "nix does not know the option PACKET_AUXDATA")]
fn want_auxdata(socket: &OwnedFd) -> Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("a small size");
    // SAFETY: the descriptor is open, and the pointer is to a c_int of the length given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, (&raw const on).cast(), length)
    };
    Errno::result(result).context("cannot ask for PACKET_AUXDATA")?;
    Ok(())
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
