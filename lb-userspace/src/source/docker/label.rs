//! The labels by which a container says what it serves.

mod limits;

use std::collections::BTreeMap;

use crate::config::{FORWARDS, Forward, Limit, MAX_NAME_BYTES, nearest, one_of, quoted};
use crate::source::unreachable_kind;
use crate::vip::Vip;
use limits::LIMIT;

/// What all labels for Weir begin with.
pub(in crate::source) const PREFIX: &str = "weir.";
/// The word of `weir.allow_networks` for whoever comes by an interface of the configuration.
pub(in crate::source) const OUTSIDE: &str = "outside";
/// How many VIPs a container may name, and how many networks.
const MAX_LISTED: usize = 64;
/// The longest name of a service, in bytes: `NAME@VIP` is a name as well.
const MAX_SERVICE_BYTES: usize = MAX_NAME_BYTES - 64;
/// Every label but those of limits.
const KNOWN: [&str; 9] = [
    "weir.enable",
    "weir.service",
    "weir.port",
    "weir.vip",
    "weir.weight",
    "weir.forward",
    "weir.network",
    "weir.allow_networks",
    "weir.public",
];

/// What a container says by its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Labels {
    /// The service it serves.
    pub(in crate::source) service: String,
    /// Where it listens, when it is not where its image says; 0 is whatever port packets are for.
    pub(in crate::source) port: Option<u16>,
    /// The VIPs the service shall have.
    pub(in crate::source) vips: Vec<Vip>,
    /// Its share of new flows.
    pub(in crate::source) weight: Option<u16>,
    /// How packets reach it.
    pub(in crate::source) forward: Option<Forward>,
    /// The network it is to be reached on.
    pub(in crate::source) network: Option<String>,
    /// The networks that may use the service, and [`OUTSIDE`].
    pub(in crate::source) allow_networks: Option<Vec<String>>,
    /// Whether everybody who comes by an interface may.
    pub(in crate::source) public: bool,
    /// The service's limits.
    pub(in crate::source) limits: Vec<Limit>,
}

impl Labels {
    /// Reads a container's labels; `None` when it does not want to serve. The error is everything that is wrong.
    pub(in crate::source) fn read(labels: &BTreeMap<String, String>) -> Option<Result<Self, String>> {
        let mut reader = Reader { labels, problems: Vec::new() };
        if labels.is_empty() || reader.boolean("weir.enable") == Some(false) {
            return None;
        }
        let read = reader.all();
        Some(match read {
            Some(read) if reader.problems.is_empty() => Ok(read),
            _ => Err(reader.problems.join(", ")),
        })
    }
}

struct Reader<'l> {
    labels: &'l BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn all(&mut self) -> Option<Labels> {
        for label in self.labels.keys().filter(|label| !label.starts_with(LIMIT)) {
            if !KNOWN.contains(&label.as_str()) {
                let hint = match nearest(label, &KNOWN) {
                    Some(near) => format!("{near} (did you mean that?)"),
                    None => format!("{} or {LIMIT}…", KNOWN.join(", ")),
                };
                self.problems.push(format!("{}: found an unknown label, expected {hint}", quoted(label)));
            }
        }
        let name = format!("a name of 1 to {MAX_SERVICE_BYTES} bytes");
        if !self.labels.contains_key("weir.service") {
            self.problems.push(format!("weir.service: found nothing, expected {name}"));
        }
        let good = |text: &str| (1..=MAX_SERVICE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        let service = self.get("weir.service", &name, |text| good(text).then(|| text.to_owned()));
        let port = self.get("weir.port", "an integer from 0 to 65535, where 0 is every port", number);
        let weight = self.get("weir.weight", "an integer from 0 to 65535", number);
        let words: Vec<&str> = FORWARDS.iter().map(|(word, _)| *word).collect();
        let forward = self.get("weir.forward", &one_of(&words), Forward::named);
        let network = self.get("weir.network", "the name of a network", |text| Some(text.to_owned()));
        let expected = format!("at most {MAX_LISTED} names of networks with commas between them, or {OUTSIDE}");
        let allow_networks = self.get("weir.allow_networks", &expected, |text| {
            let names: Vec<String> = listed(text).map(str::to_owned).collect();
            (names.len() <= MAX_LISTED && !names.iter().any(String::is_empty)).then_some(names)
        });
        let public = self.boolean("weir.public");
        if public == Some(false) && allow_networks.iter().flatten().any(|name| name == OUTSIDE) {
            let text =
                format!("weir.public: found false beside {OUTSIDE} in weir.allow_networks, expected one of them");
            self.problems.push(text);
        }
        let vips = self.vips();
        let limits = self.limits();
        Some(Labels {
            service: service?,
            port,
            vips,
            weight,
            forward,
            network,
            allow_networks,
            public: public.unwrap_or(true),
            limits,
        })
    }

    fn get<T>(&mut self, label: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.labels.get(label)?.trim();
        let read = if text.is_empty() { None } else { read(text) };
        if read.is_none() {
            self.problems.push(format!("{label}: found {}, expected {expected}", quoted(text)));
        }
        read
    }

    fn boolean(&mut self, label: &str) -> Option<bool> {
        self.get(label, "true or false", |text| text.to_ascii_lowercase().parse().ok())
    }

    fn vips(&mut self) -> Vec<Vip> {
        let Some(text) = self.labels.get("weir.vip") else { return Vec::new() };
        let expected = "ADDRESS:PORT/PROTOCOL such as 192.0.2.10:80/tcp or [2001:db8::10]:80/tcp";
        let mut vips: Vec<Vip> = Vec::new();
        for (index, text) in listed(text).enumerate() {
            let found = match text.parse::<Vip>() {
                _ if index >= MAX_LISTED => format!("more than {MAX_LISTED} VIPs"),
                Err(()) => quoted(text),
                Ok(vip) if vips.contains(&vip) => format!("{vip} twice"),
                Ok(vip) => match unreachable_kind(vip.address) {
                    Some(kind) => format!("{vip}, {kind}"),
                    None => {
                        vips.push(vip);
                        continue;
                    }
                },
            };
            self.problems.push(format!("weir.vip: found {found}, expected {expected}"));
            if index >= MAX_LISTED {
                break;
            }
        }
        vips
    }
}

/// The parts of a list with commas.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Digits alone: `u16::from_str` takes a sign.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Over, Per, Unit};

    fn read(labels: &[(&str, &str)]) -> Option<Result<Labels, String>> {
        Labels::read(&labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect())
    }

    fn good(labels: &[(&str, &str)]) -> Labels {
        read(labels).expect("wants to serve").expect("good")
    }

    #[test]
    fn little_has_to_be_said() {
        let labels = good(&[("weir.service", "web")]);
        assert_eq!((labels.service.as_str(), labels.port, labels.public), ("web", None, true));
        assert_eq!((labels.vips.len(), labels.limits.len(), labels.allow_networks), (0, 0, None));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("weir.service", "web"), ("weir.enable", "false"), ("weir.port", "x")]), None);
    }

    #[test]
    fn all_of_it_is_understood() {
        let labels = good(&[
            ("weir.enable", "true"),
            ("weir.service", "web"),
            ("weir.port", "8080"),
            ("weir.vip", "192.0.2.10:80/tcp, [2001:db8::10]:80/udp"),
            ("weir.weight", "7"),
            ("weir.forward", "snat"),
            ("weir.network", "backend"),
            ("weir.allow_networks", "frontend,outside"),
            ("weir.public", "True"),
            ("weir.limit.per", "source"),
            ("weir.limit.rate", "100"),
            ("weir.limit.unit", "packets/s"),
            ("weir.limit.all.per", "service"),
            ("weir.limit.all.rate", "1000000"),
            ("weir.limit.all.unit", "bytes/s"),
            ("weir.limit.all.burst", "3000"),
            ("weir.limit.all.over", "mark"),
        ]);
        let vips: Vec<String> = labels.vips.iter().map(Vip::to_string).collect();
        assert_eq!(vips, ["192.0.2.10:80/tcp", "[2001:db8::10]:80/udp"]);
        assert_eq!((labels.port, labels.weight, labels.forward), (Some(8080), Some(7), Some(Forward::Snat)));
        assert_eq!(labels.network.as_deref(), Some("backend"));
        assert_eq!(labels.allow_networks, Some(vec!["frontend".to_owned(), "outside".to_owned()]));
        let expected = [
            Limit::strict(Per::Source, 100, Unit::Packets),
            Limit { over: Over::Mark, ..Limit::strict(Per::Service, 1_000_000, Unit::Bytes).with_burst(3_000) },
        ];
        assert_eq!(labels.limits, expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_label() {
        for (label, value, expected) in [
            ("weir.port", "http", "weir.port: found \"http\", expected an integer from 0 to 65535"),
            ("weir.port", "+80", "weir.port: found \"+80\""),
            ("weir.port", "", "weir.port: found \"\""),
            ("weir.weight", "65536", "weir.weight: found \"65536\", expected an integer from 0 to 65535"),
            ("weir.forward", "dsr", "weir.forward: found \"dsr\", expected nat, snat, l2, ipip or gue"),
            ("weir.public", "maybe", "weir.public: found \"maybe\", expected true or false"),
            ("weir.vip", "192.0.2.10:80", "weir.vip: found \"192.0.2.10:80\", expected ADDRESS:PORT/PROTOCOL"),
            ("weir.vip", "2001:db8::1:80/tcp", "weir.vip: found \"2001:db8::1:80/tcp\""),
            ("weir.vip", "127.0.0.1:80/tcp", "found 127.0.0.1:80/tcp, a loopback address, expected"),
            ("weir.vip", "192.0.2.1:1/tcp,192.0.2.1:1/tcp", "found 192.0.2.1:1/tcp twice"),
            ("weir.wieght", "1", "\"weir.wieght\": found an unknown label, expected weir.weight (did you mean that?)"),
            ("weir.http.routers", "1", "\"weir.http.routers\": found an unknown label, expected weir.enable, "),
            (
                "weir.limit.rate",
                "1",
                "weir.limit.per: found nothing, expected service, source, source-prefix or backend",
            ),
            ("weir.limit.a.rate", "fast", "weir.limit.a.rate: found \"fast\", expected a number and its unit, such as"),
            ("weir.limit.a.rat", "1", "weir.limit.a.rat: found an unknown key, expected rate (did you mean that?)"),
            ("weir.limit.rate.per", "1", "\"weir.limit.rate.per\": found an unknown label"),
            ("weir.limit.a.\"b", "1", "found an unknown label, expected weir.limit.KEY"),
            ("weir.allow_networks", "a,,b", "weir.allow_networks: found \"a,,b\""),
        ] {
            let problem = read(&[("weir.service", "web"), (label, value)]).expect("wants").expect_err(label);
            assert!(problem.contains(expected), "{problem}");
        }
        let problem = read(&[("weir.port", "80")]).expect("wants").expect_err("no service");
        assert_eq!(problem, "weir.service: found nothing, expected a name of 1 to 191 bytes");
    }
}
