//! Where tunnels may come from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address or a prefix of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The address, or the first of the prefix.
    pub address: IpAddr,
    /// How many of its bits count: at most 32 or 128.
    pub prefix: u32,
}

impl FromStr for Sender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("found {text:?}, expected an address or ADDRESS/PREFIX, such as 10.0.0.5 or fd00:7::/64");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(format!("found {text:?}, an IPv4-mapped address, expected the IPv4 address itself"));
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(wrong)?,
        };
        let sender = Self { address, prefix };
        let first = sender.first();
        if first != address {
            return Err(format!(
                "found {text:?}, whose address has bits beyond its prefix, expected {first}/{prefix} or {address}"
            ));
        }
        // In the maps IPv4 addresses are IPv4-mapped ones: such a prefix would take them in.
        if matches!(address, IpAddr::V6(v6) if v6.is_unspecified() || v6.segments()[..5] == [0; 5]) && prefix <= 96 {
            return Err(format!(
                "found {text:?}, which would be IPv4's addresses too, expected a longer prefix, such as 2000::/3"
            ));
        }
        Ok(sender)
    }
}

impl Sender {
    /// The first address of the prefix.
    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let beyond = u32::MAX.checked_shr(self.prefix).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & !beyond).into())
            }
            IpAddr::V6(v6) => {
                let beyond = u128::MAX.checked_shr(self.prefix).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & !beyond).into())
            }
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.prefix) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{}", self.address),
            (address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_prefixes_are_read() {
        for text in ["10.0.0.5", "10.0.0.0/8", "0.0.0.0/0", "fd00:7::5", "fd00:7::/64", "2000::/3"] {
            assert_eq!(text.parse::<Sender>().map(|sender| sender.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("10.0.0.5/32".parse::<Sender>().unwrap().to_string(), "10.0.0.5");
    }

    #[test]
    fn what_is_none_is_refused_with_what_would_be() {
        for (text, says) in [
            ("balancer", "expected an address"),
            ("10.0.0.0/33", "expected an address"),
            ("10.0.0.0/", "expected an address"),
            ("fd00::/129", "expected an address"),
            ("10.0.0.5/8", "expected 10.0.0.0/8 or 10.0.0.5"),
            ("fd00:7::5/64", "expected fd00:7::/64 or fd00:7::5"),
            ("::ffff:10.0.0.5", "IPv4 address itself"),
            ("::/0", "expected a longer prefix"),
            ("::/96", "expected a longer prefix"),
        ] {
            let error = text.parse::<Sender>().unwrap_err();
            assert!(error.contains(says) && error.contains(text), "{error}");
        }
    }
}
