//! Captures (pcap files), and what tshark makes of them.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::run;

/// What is read of every packet: whether each checksum is good, and whether anything cannot be made sense of.
const CHECKSUMS: [&str; 6] = ["ip", "tcp", "udp", "sctp", "icmp", "icmpv6"];

/// Has tshark check every checksum.
const PREFERENCES: [&str; 6] = [
    "ip.check_checksum:TRUE",
    "tcp.check_checksum:TRUE",
    "udp.check_checksum:TRUE",
    // RFC 6935 and RFC 6936: tunnels over IPv6 may go without.
    "udp.ignore_ipv6_zero_checksum:TRUE",
    "sctp.checksum:CRC 32c",
    "tcp.desegment_tcp_streams:FALSE",
];

/// The protocols that it looks into: payloads are no business of whoever forwards them.
const PROTOCOLS: [&str; 24] = [
    "frame",
    "eth",
    "ethertype",
    "vlan",
    "ieee8021ad",
    "arp",
    "llc",
    "ip",
    "ipv6",
    "ipv6.hopopts",
    "ipv6.dstopts",
    "ipv6.fraghdr",
    "ipv6.routing",
    "ipv6.routing.type.rt0",
    "ipv6.routing.type.mipv6",
    "ipv6.routing.type.srh",
    "icmp",
    "icmpv6",
    "tcp",
    "udp",
    "sctp",
    "data",
    "_ws.malformed",
    "_ws.short",
];

/// What tshark found in a capture.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many packets there are.
    pub packets: usize,
    /// How many checksums were found to be good.
    pub good_checksums: usize,
    /// What is wrong, by the packet's number in the capture, which begins with 1.
    pub faults: Vec<(usize, String)>,
}

impl Summary {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {} good checksums", self.packets, self.good_checksums)?;
        self.faults.iter().try_for_each(|(number, fault)| write!(f, "\n  packet {number}: {fault}"))
    }
}

/// Whether any packet of a capture has a bad checksum or is malformed. `gue_port` is the port at which packets in UDP are
/// looked into, too.
pub fn tshark_verdict(capture: &Path, gue_port: u16) -> Result<Summary> {
    Tshark::new(gue_port).verdict(capture)
}

/// How tshark looks at a capture.
#[derive(Debug, Clone, Copy)]
pub struct Tshark {
    gue_port: u16,
    joins: bool,
}

impl Tshark {
    /// Packets at the port `gue_port` are looked into, too; datagrams in fragments are put together.
    pub const fn new(gue_port: u16) -> Self {
        Self { gue_port, joins: true }
    }

    /// Fragments are not put together, so that what is said of a packet is of that packet alone.
    #[must_use]
    pub const fn each_fragment_alone(self) -> Self {
        Self { joins: false, ..self }
    }

    /// Whether any packet has a bad checksum or is malformed.
    pub fn verdict(self, capture: &Path) -> Result<Summary> {
        let checksums = CHECKSUMS.map(|of| format!("{of}.checksum.status"));
        let fields = checksums.iter().map(String::as_str).chain(["frame.protocols", "_ws.malformed"]);
        let mut summary = Summary::default();
        for row in self.fields(capture, fields)? {
            summary.packets += 1;
            let protocols = row.get(CHECKSUMS.len()).and_then(|values| values.first()).map_or("", String::as_str);
            for (of, values) in CHECKSUMS.iter().zip(&row) {
                let values = &values[..own(protocols, of).min(values.len())];
                // Values of wireshark's proto_checksum_enum: 0 bad, 1 good, 2 not verified, 3 not there, 4 illegal.
                summary.good_checksums += values.iter().filter(|value| *value == "1").count();
                if values.iter().any(|value| value == "0" || value == "4") {
                    summary.faults.push((summary.packets, format!("a bad checksum of {of}")));
                }
            }
            if row.last().is_some_and(|malformed| !malformed.is_empty()) {
                summary.faults.push((summary.packets, "malformed".to_owned()));
            }
        }
        Ok(summary)
    }

    /// The values of these fields, by tshark's names, for every packet; from the outermost header inwards.
    pub fn fields<'a>(
        self,
        capture: &Path,
        fields: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Vec<Vec<String>>>> {
        let mut command = Command::new("tshark");
        // Its settings are not whoever's is at home here.
        command.env("HOME", "/nonexistent").env("XDG_CONFIG_HOME", "/nonexistent").arg("-n").arg("-r").arg(capture);
        let joins = ["ip", "ipv6"].map(|of| format!("{of}.defragment:{}", if self.joins { "TRUE" } else { "FALSE" }));
        PREFERENCES.into_iter().chain(joins.iter().map(String::as_str)).for_each(|preference| {
            command.args(["-o", preference]);
        });
        for protocol in others()? {
            command.args(["--disable-protocol", &protocol]);
        }
        command.args(["-d", &format!("udp.port=={},ip", self.gue_port), "-T", "fields", "-E", "separator=/t"]);
        command.args(["-E", "occurrence=a", "-E", "aggregator=;"]);
        fields.into_iter().for_each(|field| {
            command.args(["-e", field]);
        });
        let said = run(&mut command).context("tshark is installed by cargo xtask setup")?;
        let values = |field: &str| field.split(';').filter(|value| !value.is_empty()).map(str::to_owned).collect();
        Ok(said.lines().map(|line| line.split('\t').map(values).collect()).collect())
    }
}

/// How many headers of a protocol are a packet's own: what an ICMP error quotes was cut, and changed on its way.
fn own(protocols: &str, of: &str) -> usize {
    let headers: Vec<&str> = protocols.split(':').collect();
    let end = headers.iter().position(|header| header.starts_with("icmp")).map_or(headers.len(), |at| at + 1);
    headers[..end].iter().filter(|header| **header == of).count()
}

/// The protocols that tshark knows besides those of [`PROTOCOLS`].
fn others() -> Result<Vec<String>> {
    // Name, short name, filter name.
    let known =
        run(Command::new("tshark").args(["-G", "protocols"])).context("tshark is installed by cargo xtask setup")?;
    let names = known.lines().filter_map(|line| line.split('\t').nth(2));
    Ok(names.filter(|name| !PROTOCOLS.contains(name)).map(str::to_owned).collect())
}

/// Writes a capture: pcap (draft-ietf-opsawg-pcap), Ethernet, microseconds.
#[expect(clippy::cast_possible_truncation, reason = "frames of at most some 64 KiB")]
pub fn write_capture<'a>(path: &Path, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
    const ETHERNET: u32 = 1;
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 262_144, ETHERNET] {
        file.extend(u32::to_le_bytes(word));
    }
    for (frame, second) in frames.into_iter().zip(1_u32..) {
        let length = frame.len() as u32;
        for word in [second, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    std::fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))
}
