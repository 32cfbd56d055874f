//! What the control socket takes and says of changes: drains, weights, plans, reloads.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

/// Which backend is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// The registry's identity of it, its address, or `ADDRESS:PORT` (`[ADDRESS]:PORT` for IPv6).
    pub backend: String,
    /// Only as a backend of this service; of all that it serves if left out.
    #[serde(default)]
    pub service: Option<String>,
}

/// Whose drains are asked for: everybody's if both are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainsOf {
    /// As in [`Which`].
    #[serde(default)]
    pub backend: Option<String>,
    /// Only this service's.
    #[serde(default)]
    pub service: Option<String>,
}

/// `POST /v1/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOrder {
    /// Which backend is to take no new flow.
    #[serde(flatten)]
    pub which: Which,
    /// When the end comes at the latest, in seconds from now, at most [`MAX_DEADLINE_S`]. Only together with `then`.
    #[serde(default, deserialize_with = "deadline")]
    pub deadline_s: Option<u64>,
    /// What the end is, when no flow is left or the deadline has come; without it the backend stays drained.
    #[serde(default)]
    pub then: Option<Then>,
}

/// The longest deadline, in seconds: 30 days.
pub const MAX_DEADLINE_S: u64 = 30 * 24 * 3600;

fn deadline<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    match Option::deserialize(from)? {
        Some(found) if found > MAX_DEADLINE_S => {
            Err(serde::de::Error::custom(format!("found a deadline_s of {found}, expected at most {MAX_DEADLINE_S}")))
        }
        other => Ok(other),
    }
}

/// How a drain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Take the backend out; flows that are left are handed over to others at once
    Remove,
    /// Take the backend out; TCP connections that are left are reset on both sides
    Reset,
}

impl Then {
    /// The word used on the command line and in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Reset => "reset",
        }
    }
}

/// One of `GET /v1/drains`: a backend of one service that drains, or has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRow {
    /// The service.
    pub service: String,
    /// The registry's identity of the backend.
    pub id: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// `draining`; `drained`: no flow goes to it; `removed`: and it is taken out.
    pub state: String,
    /// Slots that still hand over from it.
    pub slots: u32,
    /// Flows to it that are remembered and live.
    pub flows: u64,
    /// Whether less than an idle time-out has passed: connections that are silent may not have been seen yet.
    pub unseen: bool,
    /// Seconds until the deadline.
    pub deadline_s: Option<u64>,
    /// How it ends: `remove` or `reset`.
    pub then: Option<String>,
}

/// `POST /v1/weight`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightOrder {
    /// Whose weight.
    #[serde(flatten)]
    pub which: Which,
    /// The weight that counts instead of the registry's; the registry's again if null.
    // Required: a weight that was forgotten must not take one away.
    #[serde(deserialize_with = "Option::deserialize")]
    pub weight: Option<u16>,
}

/// `POST /v1/plan`: what would happen if … Either a configuration or backends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanQuestion {
    /// … this were the configuration.
    #[serde(default)]
    pub config: Option<PlanFile>,
    /// … these backends had these weights.
    #[serde(default)]
    pub backends: Vec<PlanBackend>,
}

/// A configuration in a [`PlanQuestion`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Where it is from, absolute: messages name it, and relative paths in it start at its directory.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A backend in a [`PlanQuestion`]; one that the service does not have joins it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanBackend {
    /// The service it serves.
    pub service: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its weight; with 0 it drains.
    pub weight: u16,
}

/// `POST /v1/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadOrder {
    /// The largest share of a service's slots that may move, in parts per million; any if left out.
    #[serde(default)]
    pub max_moved_ppm: Option<u32>,
}

/// What a change would do, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Every service, before or after.
    pub services: Vec<PlannedService>,
    /// The largest share of its slots that a service with a table moves, in parts per million, rounded up.
    pub moved_ppm: u32,
    /// What is to be known besides, one line each.
    pub notes: Vec<String>,
    /// Whether it was done.
    pub applied: bool,
}

/// A service in a [`PlanReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedService {
    /// Its name.
    pub service: String,
    /// `new`, `removed`, `changed` or `same`.
    pub change: String,
    /// Slots of its table.
    pub slots: u32,
    /// Those of them that another backend holds afterwards.
    pub slots_moved: u32,
    /// Live flows that were looked at.
    pub flows_sampled: u64,
    /// Those of them that are in slots that move.
    pub flows_moved: u64,
    /// Its backends, before or after.
    pub backends: Vec<PlannedBackend>,
}

/// A backend in a [`PlannedService`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBackend {
    /// The registry's identity of it.
    pub id: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Its weight now; null if it is not there.
    pub weight_before: Option<u16>,
    /// Its weight afterwards; null if it is not there any more.
    pub weight_after: Option<u16>,
    /// Slots that it holds now.
    pub slots_before: u32,
    /// Slots that it holds afterwards.
    pub slots_after: u32,
    /// Slots that it holds now and another one afterwards.
    pub slots_moved: u32,
    /// Of the flows that were looked at, those that go to it now and are in such slots.
    pub flows_moved: u64,
}

/// The last change of the tables, in `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How many seconds ago.
    pub at_s_ago: u64,
    /// What it did to each service that it changed.
    pub services: Vec<PlannedService>,
    /// As in [`PlanReport`].
    pub moved_ppm: u32,
}

/// What is being handed over, in `GET /v1/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// Slots that hand over from one backend to another.
    pub slots: u32,
    /// Services that have such slots.
    pub services: usize,
    /// Flows of such slots that are remembered.
    pub flows: u64,
    /// How many packets had their flow looked up, since the maps were made: it stands still when every slot is settled.
    pub flow_lookups: u64,
    /// How many remembered flows were forgotten because they were silent for too long.
    pub flows_expired: u64,
    /// How many flows were not remembered: too many at once, or no room.
    pub inserts_refused: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_need_no_more_than_what_they_are_about() {
        let which = |service: Option<&str>| Which { backend: "web-1".into(), service: service.map(str::to_owned) };
        let drain: DrainOrder = serde_json::from_str(r#"{"backend": "web-1"}"#).expect("an order");
        assert_eq!(drain, DrainOrder { which: which(None), deadline_s: None, then: None });
        let drain: DrainOrder =
            serde_json::from_str(r#"{"backend": "web-1", "service": "web", "deadline_s": 600, "then": "reset"}"#)
                .expect("an order");
        assert_eq!(drain, DrainOrder { which: which(Some("web")), deadline_s: Some(600), then: Some(Then::Reset) });
        let weight: WeightOrder = serde_json::from_str(r#"{"backend": "web-1", "weight": null}"#).expect("an order");
        assert_eq!(weight, WeightOrder { which: which(None), weight: None });
        assert_eq!(serde_json::from_str::<ReloadOrder>("{}").expect("an order"), ReloadOrder::default());
        for drain in [r#"{"backend": "web-1", "then": "explode"}"#, r#"{"backend": "web-1", "deadline_s": 2592001}"#] {
            assert!(serde_json::from_str::<DrainOrder>(drain).is_err(), "{drain}");
        }
        for weight in [r#"{"backend": "web-1", "weight": 65536}"#, r#"{"backend": "web-1"}"#] {
            assert!(serde_json::from_str::<WeightOrder>(weight).is_err(), "{weight}");
        }
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let order = DrainOrder {
            which: Which { backend: "[2001:db8::1]:80".into(), service: Some("web".into()) },
            deadline_s: Some(1),
            then: Some(Then::Remove),
        };
        let text = serde_json::to_string(&order).expect("JSON");
        assert_eq!(text, r#"{"backend":"[2001:db8::1]:80","service":"web","deadline_s":1,"then":"remove"}"#);
        assert_eq!(serde_json::from_str::<DrainOrder>(&text).expect("an order"), order);
        let question = PlanQuestion {
            config: None,
            backends: vec![PlanBackend {
                service: "web".into(),
                address: "2001:db8::1".parse().expect("an address"),
                port: 80,
                weight: 0,
            }],
        };
        let text = serde_json::to_string(&question).expect("JSON");
        assert_eq!(serde_json::from_str::<PlanQuestion>(&text).expect("a question"), question);
    }
}
