//! QUIC's packets, as far as everybody can read them (RFC 8999, RFC 9000 §17).

/// A long header (RFC 8999 §5.1): of an Initial packet (RFC 9000 §17.2.2), with an empty token, where `version` is 1.
pub fn quic_long(version: u32, destination_id: &[u8], source_id: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xc0];
    packet.extend(version.to_be_bytes());
    packet.push(destination_id.len() as u8);
    packet.extend(destination_id);
    packet.push(source_id.len() as u8);
    packet.extend(source_id);
    // No token; a length of 20 (RFC 9000 §16), the packet number and what is protected.
    packet.extend([0x00, 0x14]);
    packet.extend([0xee; 20]);
    packet
}

/// A short header (RFC 9000 §17.3.1).
pub fn quic_short(destination_id: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x40];
    packet.extend(destination_id);
    packet.extend([0xee; 24]);
    packet
}
