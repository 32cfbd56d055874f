//! The other way round: a frame that a receiver of another might send.

/// Where the packet begins behind up to two tags, and whether it is of IPv4.
fn network(frame: &[u8]) -> Option<(usize, bool)> {
    let mut at = 12;
    for _ in 0..3 {
        match frame.get(at..at + 2)? {
            [0x81, 0x00] | [0x88, 0xa8] => at += 4,
            [0x08, 0x00] => return Some((at + 2, true)),
            [0x86, 0xdd] => return Some((at + 2, false)),
            _ => return None,
        }
    }
    None
}

/// The frame with both ends exchanged, which no checksum notices; as far as there are any.
pub(super) fn turned(frame: &[u8]) -> Option<Vec<u8>> {
    let (l3, v4) = network(frame)?;
    let mut frame = frame.to_vec();
    let (addresses, length, l4) = if v4 { (l3 + 12, 4, l3 + 20) } else { (l3 + 8, 16, l3 + 40) };
    if frame.len() < l4 + 4 {
        return None;
    }
    swap(&mut frame, 0, 6);
    swap(&mut frame, addresses, length);
    swap(&mut frame, l4, 2);
    Some(frame)
}

fn swap(frame: &mut [u8], at: usize, length: usize) {
    let (one, other) = frame[at..at + 2 * length].split_at_mut(length);
    one.swap_with_slice(other);
}

/// The packet in a frame, and the address that it comes from, as text.
pub(super) fn quoted(frame: &[u8]) -> Option<(String, Vec<u8>)> {
    let (l3, v4) = network(frame)?;
    let packet = frame.get(l3..)?;
    let source = if v4 {
        std::net::Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?).to_string()
    } else {
        std::net::Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?).to_string()
    };
    Some((source, packet.to_vec()))
}
