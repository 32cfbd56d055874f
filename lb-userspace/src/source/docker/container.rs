//! A container as the engine describes it, as far as it matters here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bollard::models::{ContainerInspectResponse, EndpointSettings, HealthStatusEnum};
use nix::sys::signal::Signal;

use super::label::PREFIX;

/// The label by which compose names a container's project.
const PROJECT: &str = "com.docker.compose.project";
/// The first of the signals that have no name, and how it is written (signal(7), glibc).
const RTMIN: i32 = 34;
/// How many networks of one container are looked at.
pub(in crate::source) const MAX_ATTACHMENTS: usize = 64;

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    /// When it was created, so written that text sorts as time.
    pub(super) created: String,
    /// When it was started last, as the engine writes it.
    pub(super) started: String,
    /// The labels for Weir.
    pub(super) labels: BTreeMap<String, String>,
    /// The compose project that it belongs to.
    pub(super) project: Option<String>,
    pub(super) state: State,
    /// The number of the signal that asks it to stop.
    pub(super) stop_signal: i32,
    pub(super) mode: Mode,
    /// The ports that its image exposes, once each.
    pub(super) ports: Vec<u16>,
    /// The networks it is on, ordered by name.
    pub(super) attachments: Vec<Attachment>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It does not run.
    Off,
    /// It runs, and is healthy as far as anybody looks.
    Serving,
    /// It runs and its health check has not passed yet.
    Starting,
    /// It runs and its health check fails.
    Unhealthy,
    /// It stands still.
    Paused,
    /// It was asked to stop and has not yet.
    Stopping,
}

impl State {
    /// Why it takes no new flows, as words that follow a container's name.
    pub(super) const fn idle(self) -> Option<&'static str> {
        match self {
            Self::Serving => None,
            Self::Off => Some("does not run"),
            Self::Starting => Some("has not passed its health check yet"),
            Self::Unhealthy => Some("is unhealthy"),
            Self::Paused => Some("is paused"),
            Self::Stopping => Some("is stopping"),
        }
    }
}

/// Whose network a container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Networks of its own.
    Own,
    /// The host's.
    Host,
    /// None.
    None,
    /// Another container's, by its id or name.
    Of(String),
}

/// A network that a container is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Attachment {
    /// The network's name.
    pub(in crate::source) name: String,
    /// The network's id.
    pub(in crate::source) id: String,
    /// The container's addresses there, at most one of each family.
    pub(in crate::source) addresses: Vec<IpAddr>,
    /// Its Ethernet address.
    pub(in crate::source) mac: Option<[u8; 6]>,
}

impl Container {
    /// Reads what an engine answers about a container; `None` of an answer without id or state.
    pub(super) fn read(answer: ContainerInspectResponse) -> Option<Self> {
        let id = answer.id?;
        let state = answer.state?;
        let config = answer.config.unwrap_or_default();
        // While it waits to be started again it is said to be running.
        let runs = state.running == Some(true) && state.restarting != Some(true);
        let health = state.health.and_then(|health| health.status);
        let does = match (runs, state.paused, health) {
            (false, ..) => State::Off,
            (true, Some(true), _) => State::Paused,
            (true, _, Some(HealthStatusEnum::STARTING)) => State::Starting,
            (true, _, Some(HealthStatusEnum::UNHEALTHY)) => State::Unhealthy,
            (true, ..) => State::Serving,
        };
        let mut labels = config.labels.unwrap_or_default();
        let project = labels.remove(PROJECT);
        let mode = match answer.host_config.and_then(|host| host.network_mode).as_deref() {
            Some("host") => Mode::Host,
            Some("none") => Mode::None,
            Some(mode) => mode.strip_prefix("container:").map_or(Mode::Own, |of| Mode::Of(of.to_owned())),
            None => Mode::Own,
        };
        let mut ports: Vec<u16> =
            config.exposed_ports.unwrap_or_default().iter().filter_map(|port| exposed(port)).collect();
        ports.sort_unstable();
        ports.dedup();
        let networks = answer.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let mut attachments: Vec<Attachment> = networks
            .into_iter()
            .take(MAX_ATTACHMENTS)
            .map(|(name, endpoint)| Attachment::read(name, endpoint))
            .collect();
        attachments.sort_by(|a, b| a.name.cmp(&b.name));
        let name = answer.name.map(|name| name.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty());
        Some(Self {
            name: name.unwrap_or_else(|| short(&id).to_owned()),
            id,
            created: sortable(answer.created.as_deref().unwrap_or_default()),
            started: state.started_at.unwrap_or_default(),
            labels: labels.into_iter().filter(|(label, _)| label.starts_with(PREFIX)).collect(),
            project,
            state: does,
            stop_signal: config.stop_signal.as_deref().and_then(signal).unwrap_or(Signal::SIGTERM as i32),
            mode,
            ports,
            attachments,
        })
    }

    /// Whether a signal that was sent to it asks it to stop.
    pub(super) const fn is_stopped_by(&self, signal: i32) -> bool {
        signal == self.stop_signal || signal == Signal::SIGKILL as i32
    }
}

impl Attachment {
    /// Reads what an engine answers about it.
    pub(in crate::source) fn read(name: String, endpoint: EndpointSettings) -> Self {
        let addresses = [endpoint.ip_address, endpoint.global_ipv6_address].into_iter().flatten();
        Self {
            name,
            id: endpoint.network_id.unwrap_or_default(),
            addresses: addresses.filter_map(|address| address.parse().ok()).collect(),
            mac: endpoint.mac_address.as_deref().and_then(mac),
        }
    }
}

/// The part of an id that is shown, and that bridges are named after.
pub(in crate::source) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// The number of a signal: `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`.
pub(super) fn signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(above) = name.strip_prefix("RTMIN+") {
        return Some(RTMIN + i32::from(above.parse::<u8>().ok()?));
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)
}

/// The port of `8080/tcp`.
fn exposed(text: &str) -> Option<u16> {
    text.split_once('/').map_or(text, |(port, _)| port).parse().ok()
}

/// `02:42:ac:11:00:02`.
pub(in crate::source) fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

/// A time of RFC 3339 in UTC, with nine digits of a second: Go leaves the last ones out when they are 0.
pub(in crate::source) fn sortable(time: &str) -> String {
    let whole = time.trim_end_matches('Z');
    let (seconds, fraction) = whole.split_once('.').unwrap_or((whole, ""));
    format!("{seconds}.{fraction:0<9}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_engines_answer_is_read() {
        let answer = json!({
            "Id": "0123456789abcdef", "Created": "2026-11-23T06:45:23.12Z", "Name": "/web-1",
            "State": {
                "Status": "running", "Running": true, "Paused": false, "Restarting": false,
                "StartedAt": "2026-11-23T06:45:24Z", "Health": { "Status": "starting", "FailingStreak": 0 }
            },
            "HostConfig": { "NetworkMode": "shop_backend" },
            "Config": {
                "ExposedPorts": { "53/udp": {}, "53/tcp": {}, "8080/tcp": {} }, "StopSignal": "SIGQUIT",
                "Labels": { "weir.service": "web", "other": "x", "com.docker.compose.project": "shop" }
            },
            "NetworkSettings": { "Networks": {
                "shop_frontend": { "NetworkID": "f", "IPAddress": "", "MacAddress": "" },
                "shop_backend": {
                    "NetworkID": "b", "IPAddress": "10.9.0.2", "GlobalIPv6Address": "fd00::2",
                    "MacAddress": "02:42:0a:09:00:02"
                }
            } }
        });
        let container = Container::read(serde_json::from_value(answer).expect("of that form")).expect("complete");
        let expected = Container {
            id: "0123456789abcdef".into(),
            name: "web-1".into(),
            created: "2026-11-23T06:45:23.120000000".into(),
            started: "2026-11-23T06:45:24Z".into(),
            labels: [("weir.service".to_owned(), "web".to_owned())].into(),
            project: Some("shop".into()),
            state: State::Starting,
            stop_signal: 3,
            mode: Mode::Own,
            ports: vec![53, 8080],
            attachments: vec![
                Attachment {
                    name: "shop_backend".into(),
                    id: "b".into(),
                    addresses: vec!["10.9.0.2".parse().expect("v4"), "fd00::2".parse().expect("v6")],
                    mac: Some([2, 0x42, 10, 9, 0, 2]),
                },
                Attachment { name: "shop_frontend".into(), id: "f".into(), addresses: vec![], mac: None },
            ],
        };
        assert_eq!(container, expected);
        assert!(container.is_stopped_by(3) && container.is_stopped_by(9) && !container.is_stopped_by(15));
    }

    #[test]
    fn signals_are_known_by_number_and_name() {
        for (text, expected) in
            [("15", Some(15)), ("SIGTERM", Some(15)), ("quit", Some(3)), ("SIGRTMIN+3", Some(37)), ("SIGX", None)]
        {
            assert_eq!(signal(text), expected, "{text}");
        }
    }
}
