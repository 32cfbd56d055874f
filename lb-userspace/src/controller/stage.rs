//! What tests of the controller begin with: a service whose backends a registry of files names.

use std::path::Path;
use std::time::Instant;

use super::{Controller, Registries};
use crate::config::Config;
use crate::dataplane::DataPlane;
use crate::source::{Endpoint, Report, Update};

/// The service `web`; keys of it may follow, and other services.
pub(super) const WEB: &str = r#"
[weir]
table_size = 251

[[interface]]
name = "eth0"

[registry.local]
path = "services.d"

[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
protocol = "tcp"
"#;

pub(super) fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("weir.toml")).expect("a good configuration")
}

/// The registry, which has not spoken yet.
pub(super) fn registries() -> Registries {
    let mut registries = Registries::default();
    registries.expect("local", "file services.d".into());
    registries
}

/// Has the registry say this.
pub(super) fn say<P: DataPlane>(controller: &mut Controller<P>, report: Report, now: Instant) {
    controller.hear([Update { registry: "local".into(), report }], now);
}

pub(super) fn endpoint(id: &str, address: &str, weight: u16) -> Endpoint {
    Endpoint {
        id: id.into(),
        address: address.parse().expect("an address"),
        port: 8080,
        weight,
        zone: None,
        forward: None,
        server_id: None,
    }
}
