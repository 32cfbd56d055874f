//! What `/v1/health/service/NAME` answers, and the endpoints in it.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::config::{Forward, MAX_NAME_BYTES};
use crate::server_id::{SERVER_ID, ServerId};
use crate::source::{Endpoint, MAX_ENDPOINTS, unreachable_kind};

/// How many instances that cannot be used are told by name.
const MAX_TOLD: usize = 5;

/// The endpoints of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoints {
    /// Those that take flows, ordered by id.
    pub(super) endpoints: Vec<Endpoint>,
    /// What is wrong with the instances that were left out, if any were.
    pub(super) problem: Option<String>,
}

/// One instance, as Consul writes it (HTTP API, Health, "List Service Instances for Service").
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    weights: Option<Weights>,
    #[serde(default)]
    meta: Option<HashMap<String, String>>,
}

/// What an instance's metadata may say to Weir.
const META_FORWARD: &str = "weir_forward";
const META_SERVER_ID: &str = "weir_server_id";

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    warning: i64,
}

/// Consul's own defaults.
const DEFAULT_WEIGHTS: Weights = Weights { passing: 1, warning: 1 };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Passing,
    Warning,
    /// Maintenance mode, too, is a check in this state.
    Critical,
    /// A word Consul does not have today: not known to be healthy.
    #[serde(other)]
    Unknown,
}

impl Endpoints {
    /// Reads an answer. The error says where it is not what Consul answers.
    pub(super) fn parse(answer: &[u8]) -> Result<Self, String> {
        let entries: Vec<Entry> = serde_json::from_slice(answer)
            .map_err(|error| format!("found an answer that is not a list of Consul's service instances: {error}"))?;
        if entries.len() > MAX_ENDPOINTS {
            return Err(format!("found {} instances, expected at most {MAX_ENDPOINTS}", entries.len()));
        }
        let mut nodes_with_id: HashMap<&str, usize> = HashMap::new();
        for entry in &entries {
            *nodes_with_id.entry(&entry.service.id).or_default() += 1;
        }
        let mut endpoints = Vec::new();
        let mut left_out = Vec::new();
        for entry in &entries {
            let Some(weight) = entry.weight() else { continue };
            // An id is unique on its node only.
            let alone = nodes_with_id.get(entry.service.id.as_str()) == Some(&1);
            let id = if alone { entry.service.id.clone() } else { format!("{}/{}", entry.node.node, entry.service.id) };
            match entry.endpoint(id, weight) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(problem) => left_out.push(problem),
            }
        }
        endpoints.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        endpoints.dedup_by(|a, b| a.id == b.id);
        Ok(Self { endpoints, problem: summary(&left_out) })
    }
}

impl Entry {
    /// Its share of new flows; `None` if its checks do not let it have any.
    fn weight(&self) -> Option<u16> {
        let weights = self.service.weights.unwrap_or(DEFAULT_WEIGHTS);
        let mut weight = weights.passing;
        for check in self.checks.iter().flatten() {
            match check.status {
                Status::Passing => {}
                Status::Warning => weight = weights.warning,
                Status::Critical | Status::Unknown => return None,
            }
        }
        Some(u16::try_from(weight.max(0)).unwrap_or(u16::MAX))
    }

    fn endpoint(&self, id: String, weight: u16) -> Result<Endpoint, String> {
        let (from, text) = match self.service.address.as_str() {
            "" => ("its node's address", &self.node.address),
            _ => ("the address", &self.service.address),
        };
        let left_out =
            |found: String, expected| format!("instance {id:?} is left out: found {found}, expected {expected}");
        if id.is_empty() || id.len() > 2 * MAX_NAME_BYTES + 1 {
            return Err(left_out(format!("an ID of {} bytes", id.len()), "a shorter one that is not empty"));
        }
        let address: Result<IpAddr, _> = text.parse();
        let Ok(address) = address else {
            return Err(left_out(format!("{from} {text:?}"), "an IP address: names are not looked up"));
        };
        // 192.0.2.1 and ::ffff:192.0.2.1 are the same place.
        let address = address.to_canonical();
        if let Some(kind) = unreachable_kind(address) {
            return Err(left_out(format!("{from} {address}, {kind}"), "one that other hosts can reach"));
        }
        let meta = |key: &str| self.service.meta.as_ref().and_then(|meta| meta.get(key)).map(String::as_str);
        let forward = meta(META_FORWARD).map(|word| {
            let expected = "nat, snat, l2, ipip or gue";
            Forward::named(word).ok_or_else(|| left_out(format!("{META_FORWARD} {word:?} in its metadata"), expected))
        });
        let server_id = meta(META_SERVER_ID).map(|text| {
            ServerId::parse(text)
                .ok_or_else(|| left_out(format!("{META_SERVER_ID} {text:?} in its metadata"), SERVER_ID))
        });
        let (forward, server_id) = (forward.transpose()?, server_id.transpose()?);
        match u16::try_from(self.service.port) {
            // 0, Consul's default, is right for services of every port: which those are the configuration knows.
            Ok(port) => Ok(Endpoint { id: id.into(), address, port, weight, zone: None, forward, server_id }),
            _ => Err(left_out(format!("port {}", self.service.port), "0 to 65535: register the service with its port")),
        }
    }
}

fn summary(left_out: &[String]) -> Option<String> {
    let told = left_out.get(..MAX_TOLD).unwrap_or(left_out).join("; ");
    match left_out.len() {
        0 => None,
        count if count > MAX_TOLD => Some(format!("{told}; and {} more", count - MAX_TOLD)),
        _ => Some(told),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(node: &str, id: &str, address: &str, statuses: &[&str]) -> Value {
        let checks: Vec<Value> = statuses.iter().map(|status| json!({ "Status": status })).collect();
        json!({
            "Node": { "Node": node, "Address": "10.0.0.9" },
            "Service": { "ID": id, "Address": address, "Port": 80, "Weights": { "Passing": 10, "Warning": 2 } },
            "Checks": checks,
        })
    }

    fn parse(entries: &[Value]) -> Endpoints {
        Endpoints::parse(json!(entries).to_string().as_bytes()).expect("good")
    }

    fn weights(endpoints: &Endpoints) -> Vec<(&str, u16)> {
        endpoints.endpoints.iter().map(|end| (&*end.id, end.weight)).collect()
    }

    #[test]
    fn checks_choose_the_weight_or_leave_the_instance_out() {
        let endpoints = parse(&[
            entry("n", "none", "10.0.0.1", &[]),
            entry("n", "passing", "10.0.0.2", &["passing", "passing"]),
            entry("n", "warning", "10.0.0.3", &["warning", "passing"]),
            entry("n", "critical", "10.0.0.4", &["warning", "critical"]),
            entry("n", "odd", "10.0.0.5", &["sleepy"]),
        ]);
        assert_eq!(weights(&endpoints), [("none", 10), ("passing", 10), ("warning", 2)]);
        assert_eq!(endpoints.problem, None);
    }

    #[test]
    fn weights_are_clamped_and_have_consuls_default() {
        let mut entries =
            [entry("n", "a", "10.0.0.1", &[]), entry("n", "b", "10.0.0.2", &[]), entry("n", "c", "10.0.0.3", &[])];
        entries[0]["Service"]["Weights"]["Passing"] = json!(70_000);
        entries[1]["Service"]["Weights"]["Passing"] = json!(-1);
        entries[2]["Service"]["Weights"] = Value::Null;
        assert_eq!(weights(&parse(&entries)), [("a", 65_535), ("b", 0), ("c", 1)]);
    }

    #[test]
    fn an_id_on_several_nodes_is_told_apart_by_the_node() {
        let endpoints = parse(&[
            entry("n1", "web", "10.0.0.1", &[]),
            entry("n2", "web", "10.0.0.2", &[]),
            entry("n1", "x", "10.0.0.3", &[]),
        ]);
        assert_eq!(weights(&endpoints), [("n1/web", 10), ("n2/web", 10), ("x", 10)]);
    }

    #[test]
    fn addresses_fall_back_to_the_node_and_mapped_ones_are_unmapped() {
        let endpoints = parse(&[entry("n", "a", "", &[]), entry("n", "b", "::ffff:192.0.2.1", &[])]);
        let addresses: Vec<String> = endpoints.endpoints.iter().map(|end| end.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.9", "192.0.2.1"]);
    }

    #[test]
    fn what_cannot_be_sent_to_is_left_out_by_name() {
        let mut portless = entry("n", "p", "10.0.0.1", &[]);
        portless["Service"]["Port"] = json!(-1);
        let endpoints = parse(&[entry("n", "h", "web.example", &[]), entry("n", "l", "127.0.0.1", &[]), portless]);
        assert_eq!(endpoints.endpoints, []);
        let expected = "instance \"h\" is left out: found the address \"web.example\", expected an IP address: names are not \
                        looked up; instance \"l\" is left out: found the address 127.0.0.1, a loopback address, expected \
                        one that other hosts can reach; instance \"p\" is left out: found port -1, expected 0 to 65535: \
                        register the service with its port";
        assert_eq!(endpoints.problem.as_deref(), Some(expected));
    }

    #[test]
    fn metadata_says_how_packets_reach_an_instance_and_which_quic_server_it_is() {
        let mut entries = [entry("n", "a", "10.0.0.1", &[]), entry("n", "b", "10.0.0.2", &[])];
        entries[0]["Service"]["Meta"] = json!({ "weir_forward": "ipip", "weir_server_id": "c0ffee", "else": "x" });
        entries[1]["Service"]["Meta"] = Value::Null;
        let endpoints = parse(&entries);
        let said: Vec<_> = endpoints.endpoints.iter().map(|end| (end.forward, end.server_id)).collect();
        assert_eq!(said, [(Some(Forward::Ipip), ServerId::parse("c0ffee")), (None, None)]);
        assert_eq!(endpoints.problem, None);
    }

    #[test]
    fn an_instance_with_odd_metadata_is_left_out_by_name() {
        let mut entries = [entry("n", "f", "10.0.0.1", &[]), entry("n", "s", "10.0.0.2", &[])];
        entries[0]["Service"]["Meta"] = json!({ "weir_forward": "IPIP" });
        entries[1]["Service"]["Meta"] = json!({ "weir_server_id": "coffee" });
        let endpoints = parse(&entries);
        assert_eq!(endpoints.endpoints, []);
        let expected = format!(
            "instance \"f\" is left out: found weir_forward \"IPIP\" in its metadata, expected nat, snat, l2, ipip or gue; \
             instance \"s\" is left out: found weir_server_id \"coffee\" in its metadata, expected {SERVER_ID}"
        );
        assert_eq!(endpoints.problem, Some(expected));
    }

    #[test]
    fn what_is_not_consuls_is_refused_with_its_place() {
        for (answer, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("[{\"Node\": 1}]", "invalid type: integer `1`, expected struct Node at line 1 column 11"),
            ("<html>", "expected value at line 1 column 1"),
        ] {
            let problem = Endpoints::parse(answer.as_bytes()).expect_err("refused");
            assert!(problem.ends_with(expected), "{problem}");
        }
    }
}
