//! Ranges of addresses as a person writes them: `192.0.2.0/24`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first of them.
    address: IpAddr,
    /// How many bits they have in common.
    bits: u8,
}

impl Prefix {
    /// Whether the address is one of them. Never of the other family.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && first(address, self.bits) == self.address
    }
}

/// The address without the bits behind the first `bits`, of which there are enough.
fn first(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into()),
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// Reads `ADDRESS/BITS`, or an address alone. The error says what is wrong where the text is nearly one.
    fn from_str(text: &str) -> Result<Self, String> {
        let no_prefix = || format!("{:?}", text.chars().take(60).collect::<String>());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| no_prefix())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(no_prefix)?
            }
            Some(_) => return Err(no_prefix()),
        };
        let start = first(address, bits);
        if start != address {
            return Err(format!("{text:?}, with bits behind the first {bits} (did you mean {start}/{bits}?)"));
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Prefix {
    /// `192.0.2.0/24`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_addresses_that_begin_as_it_does() {
        for (prefix, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            let prefix: Prefix = prefix.parse().expect(prefix);
            assert!(prefix.contains(inside.parse().expect("an address")), "{prefix} {inside}");
            assert!(!prefix.contains(outside.parse().expect("an address")), "{prefix} {outside}");
        }
        assert_eq!("192.0.2.1".parse::<Prefix>().expect("one").to_string(), "192.0.2.1/32");
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "192.0.2/24", "2001:db8::/129", "web"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let error = "192.0.2.1/24".parse::<Prefix>().expect_err("bits behind");
        assert_eq!(error, "\"192.0.2.1/24\", with bits behind the first 24 (did you mean 192.0.2.0/24?)");
    }
}
