//! Hashing flows to slots.

use crate::Address;

/// A flow's hash, from what its client is: the service is in the seed.
///
/// Computed alike from a packet to the VIP and from the backend's reply, which is how a reply is known without a
/// table. The mixing step is the finaliser of MurmurHash3 (Appleby, public domain), a bijection with full avalanche: no two
/// flows of IPv4 clients have the same hash.
#[inline(always)]
pub const fn flow(seed: u64, client: Address, client_port: [u8; 2]) -> u64 {
    if client.is_v4() { flow_v4(seed, client.v4(), client_port) } else { flow_v6(seed, client, client_port) }
}

/// The same of an IPv4 client.
#[inline(always)]
pub const fn flow_v4(seed: u64, client: [u8; 4], client_port: [u8; 2]) -> u64 {
    let (client, port) = (u32::from_ne_bytes(client), u16::from_ne_bytes(client_port));
    mix(seed ^ ((port as u64) << 32 | client as u64))
}

/// The same of an IPv6 client.
#[inline(always)]
pub const fn flow_v6(seed: u64, client: Address, client_port: [u8; 2]) -> u64 {
    let [network, host] = client.halves();
    let port = u16::from_ne_bytes(client_port) as u64;
    mix(mix(seed ^ network ^ port.wrapping_mul(GOLDEN)) ^ host)
}

/// Spreads the flows in a tunnel over the ways between its ends: the upper bits are for whoever looks at the outer headers. No
/// slot depends on it, so that one product does (Knuth, The Art of Computer Programming 3, section 6.4).
#[inline(always)]
pub const fn entropy(client: Address, client_port: [u8; 2], port: u16) -> u64 {
    let [network, host] = client.halves();
    let ports = (u16::from_ne_bytes(client_port) as u64) << 16 | port as u64;
    // Ports count from their lower end, an address from its last byte, which is the upper end of `host`.
    (u64::from_be(host) ^ network.wrapping_add(ports << 32)).wrapping_mul(GOLDEN)
}

/// An odd number: the fraction of the golden ratio.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A service's seed: every service spreads differently, and so do balancers with another `hash_seed`.
pub const fn seed(hash_seed: u64, vip: Address, port: [u8; 2], protocol: u8) -> u64 {
    flow(mix(hash_seed ^ protocol as u64), vip, port)
}

/// The slot in a table of `len` slots: the hash's upper half scaled down (Lemire, "Fast random integer generation in
/// an interval", 2019), so that nothing is divided. Always below `len`; 0 when `len` is 0.
#[inline(always)]
pub const fn slot(hash: u64, len: u32) -> u32 {
    (((hash >> 32) * len as u64) >> 32) as u32
}

/// What keys of three words are spread with over a table's groups: odd numbers that strangers do not know (multilinear hashing:
/// Lemire, Kaser, "Strongly universal string hashing is fast", 2014).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keyed {
    /// How many groups the table has.
    pub(crate) groups: u32,
    odd: [u64; 3],
}

impl Keyed {
    /// For a table of so many groups; of the secrets, all but the lowest bits count.
    pub(crate) const fn new(groups: u32, [a, b, c]: [u64; 3]) -> Self {
        Self { groups, odd: [a | 1, b | 1, c | 1] }
    }

    /// As words, for the programs.
    pub const fn to_words(&self) -> [u64; 4] {
        [self.groups as u64, self.odd[0], self.odd[1], self.odd[2]]
    }

    /// The inverse of [`Self::to_words`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it was half a word")]
    pub const fn from_words([groups, a, b, c]: [u64; 4]) -> Self {
        Self { groups: groups as u32, odd: [a, b, c] }
    }

    /// A key's hash. The sum of the words' products is good in its upper half, which one product more spreads over all of it.
    #[inline(always)]
    pub(crate) const fn hash(&self, [a, b, c]: [u64; 3]) -> u64 {
        let [odd_a, odd_b, odd_c] = self.odd;
        let sum = a.wrapping_mul(odd_a).wrapping_add(b.wrapping_mul(odd_b)).wrapping_add(c.wrapping_mul(odd_c));
        (sum ^ sum >> 32).wrapping_mul(GOLDEN)
    }
}

/// MurmurHash3's 64-bit finaliser.
#[inline(always)]
pub const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's chi-squared over `buckets` equal shares, as a multiple of its standard deviation above its mean.
    fn excess(counts: &[u32]) -> f64 {
        let total: u32 = counts.iter().sum();
        let expected = f64::from(total) / counts.len() as f64;
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        let degrees = (counts.len() - 1) as f64;
        (chi - degrees) / (2.0 * degrees).sqrt()
    }

    #[test]
    fn one_client_spreads_by_its_ports_alone() {
        let mut counts = [0; 101];
        for port in 1024..=65535_u16 {
            counts[slot(flow(0, Address::from_v4([192, 0, 2, 1]), port.to_be_bytes()), 101) as usize] += 1;
        }
        assert!(excess(&counts) < 6.0, "{counts:?}");
    }

    #[test]
    fn neighbouring_clients_spread_on_one_port() {
        let mut counts = [0; 101];
        for client in 0..65535_u16 {
            let [a, b] = client.to_be_bytes();
            counts[slot(flow(0, Address::from_v4([10, 0, a, b]), [4, 0]), 101) as usize] += 1;
        }
        assert!(excess(&counts) < 6.0, "{counts:?}");
    }

    #[test]
    fn clients_of_ipv6_spread_by_port_by_host_and_by_network() {
        let client = |network: u16, host: u16, port: u16| {
            let ([a, b], [c, d]) = (network.to_be_bytes(), host.to_be_bytes());
            let address = Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, a, b, 0, 0, 0, 0, 0, 0, c, d]);
            slot(flow(0, address, port.to_be_bytes()), 101) as usize
        };
        let mut counts = [[0; 101]; 4];
        for n in 1024..=65535_u16 {
            counts[0][client(1, 1, n)] += 1;
            counts[1][client(1, n, 1024)] += 1;
            counts[2][client(n, 1, 1024)] += 1;
            // Networks and ports that count together.
            counts[3][client(n, 1, n)] += 1;
        }
        for counts in counts {
            assert!(excess(&counts) < 6.0, "{counts:?}");
        }
    }

    #[test]
    fn flows_in_a_tunnel_spread_by_port_by_client_and_by_network() {
        let v4 = |host: u16| Address::from_v4([10, 0, host.to_be_bytes()[0], host.to_be_bytes()[1]]);
        let v6 = |network: u16, host: u16| {
            let ([a, b], [c, d]) = (network.to_be_bytes(), host.to_be_bytes());
            Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, a, b, 0, 0, 0, 0, 0, 0, c, d])
        };
        let mut counts = [[0; 64]; 6];
        for n in 1024..=65535_u16 {
            let port = n.to_be_bytes();
            let all = [
                entropy(v4(1), port, 80),
                entropy(v4(n), [4, 0], 80),
                entropy(v6(1, 1), port, 80),
                entropy(v6(1, n), [4, 0], 80),
                entropy(v6(n, 1), [4, 0], 80),
                // Networks and ports that count together.
                entropy(v6(n, 1), port, 80),
            ];
            for (counts, entropy) in counts.iter_mut().zip(all) {
                counts[(entropy >> 58) as usize] += 1;
            }
        }
        for counts in counts {
            assert!(excess(&counts) < 6.0, "{counts:?}");
        }
    }

    #[test]
    fn seeds_are_unlike_for_unlike_services() {
        let vip = Address::from_v4([192, 0, 2, 1]);
        assert_ne!(seed(0, vip, [0, 80], 6), seed(0, vip, [0, 80], 17));
        assert_ne!(seed(0, vip, [0, 80], 6), seed(0, vip, [0, 81], 6));
        assert_ne!(seed(0, vip, [0, 80], 6), seed(1, vip, [0, 80], 6));
    }

    #[test]
    fn slots_stay_inside() {
        assert_eq!(slot(u64::MAX, 65537), 65536);
        assert_eq!(slot(u64::MAX, 0), 0);
        assert_eq!(slot(0, 65537), 0);
    }
}
