//! One file of the registry: a service and its backends.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::{ConfigError, Document, FORWARDS, MAX_NAME_BYTES, Table, name};
use crate::server_id::{SERVER_ID, ServerId};
use crate::source::{DEFAULT_WEIGHT, Endpoint, MAX_ENDPOINTS, unreachable_kind};

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceFile {
    /// The service's name.
    pub(super) service: String,
    /// The line that names it.
    pub(super) line: usize,
    /// Its backends, in the file's order.
    pub(super) endpoints: Arc<[Endpoint]>,
}

impl ServiceFile {
    /// Checks `text` as if it had been read from `path`.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Document::read(path, text, read)
    }
}

/// Where ids and sockets were first seen.
#[derive(Debug, Default)]
struct Seen {
    ids: HashMap<String, usize>,
    sockets: HashMap<(std::net::IpAddr, u16), usize>,
}

fn read(mut root: Table<'_, '_>) -> Option<ServiceFile> {
    let expected = format!("the service's name, of 1 to {MAX_NAME_BYTES} bytes");
    root.require("service", &expected);
    let service = root.string("service", &expected, MAX_NAME_BYTES);
    let tables = root.tables("backend", "an array of tables, each written [[backend]]", false);
    if let Some(table) = tables.get(MAX_ENDPOINTS) {
        root.problem(table.line, "backend", format!("found {}, expected at most {MAX_ENDPOINTS}", tables.len()));
    }
    let mut seen = Seen::default();
    let tables = tables.into_iter().take(MAX_ENDPOINTS);
    let expected = format!("a name of 1 to {MAX_NAME_BYTES} bytes, unique in the service");
    let endpoints = tables.filter_map(|table| read_backend(table, &expected, &mut seen)).collect();
    root.finish();
    let service = service?;
    Some(ServiceFile { service: service.value.to_owned(), line: service.line, endpoints })
}

fn read_backend(mut table: Table<'_, '_>, expected: &str, seen: &mut Seen) -> Option<Endpoint> {
    table.require("id", expected);
    let id = table.string("id", expected, MAX_NAME_BYTES);
    if let Some(found) = id {
        if let Some(first) = seen.ids.get(found.value) {
            let text = format!("found {:?}, which line {first} has too, expected every id once", found.value);
            table.problem(found.line, "id", text);
        } else {
            seen.ids.insert(found.value.to_owned(), found.line);
        }
        table.rename(format!("backend.{}", name(found.value)));
    }
    let expected = "the IPv4 or IPv6 address it listens on";
    table.require("address", expected);
    let address = table.address("address", expected, |address| unreachable_kind(address).map_or(Ok(()), Err));
    let expected = "an integer from 0 to 65535, where 0 is every port";
    table.require("port", expected);
    let port = table.integer("port", expected, 0, u16::MAX.into()).and_then(|found| u16::try_from(found.value).ok());
    let weight = table.integer("weight", "an integer from 0 to 65535", 0, u16::MAX.into());
    let zone = table.string("zone", "the name of a failure domain", MAX_NAME_BYTES);
    let forward = table.choice("forward", &FORWARDS);
    let server_id = table.parsed("server_id", SERVER_ID, ServerId::parse);
    if let (Some(address), Some(port)) = (address, port) {
        let socket = (address.value, port);
        if let Some(first) = seen.sockets.get(&socket) {
            let found = std::net::SocketAddr::from(socket);
            let text = format!("found {found}, which the backend on line {first} has too, expected every one once");
            table.problem(address.line, "address", text);
        } else {
            seen.sockets.insert(socket, address.line);
        }
    }
    // Before anything that is missing ends this: a misspelt key is what is missing elsewhere.
    table.finish();
    Some(Endpoint {
        id: id?.value.into(),
        address: address?.value,
        port: port?,
        weight: weight.and_then(|found| u16::try_from(found.value).ok()).unwrap_or(DEFAULT_WEIGHT),
        zone: zone.map(|found| found.value.into()),
        forward: forward.map(|found| found.value),
        server_id: server_id.map(|found| found.value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Forward;

    const EXAMPLE: &str = r#"service = "web"
[[backend]]
id = "web-1"
address = "10.0.1.11"
port = 8080
weight = 0
[[backend]]
id = "web-2"
address = "2001:db8::2"
port = 8080
zone = "b"
"#;

    fn parse(text: &str) -> Result<ServiceFile, String> {
        ServiceFile::parse(text, Path::new("F")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_understood() {
        let file = parse(EXAMPLE).expect("good");
        assert_eq!((file.service.as_str(), file.line), ("web", 1));
        let shown: Vec<_> =
            file.endpoints.iter().map(|end| (&*end.id, end.port, end.weight, end.zone.as_deref())).collect();
        assert_eq!(shown, [("web-1", 8080, 0, None), ("web-2", 8080, DEFAULT_WEIGHT, Some("b"))]);
    }

    #[test]
    fn a_backend_says_how_packets_reach_it_and_which_quic_server_it_is() {
        let said = EXAMPLE.replacen("weight = 0", "forward = \"gue\"\nserver_id = \"c0ffee\"", 1);
        let file = parse(&said).expect("good");
        let said: Vec<_> = file.endpoints.iter().map(|end| (end.forward, end.server_id)).collect();
        assert_eq!(said, [(Some(Forward::Gue), ServerId::parse("c0ffee")), (None, None)]);
    }

    #[test]
    fn a_service_without_backends_is_present_and_empty() {
        assert_eq!(parse("service = \"web\"").map(|file| file.endpoints), Ok(Arc::default()));
    }

    #[test]
    fn every_refusal_says_where_what_and_what_instead() {
        let rows = [
            (
                "address = \"10.0.1.11\"",
                "addres = \"10.0.1.11\"",
                "F:2: backend.web-1.address: found nothing, expected the IPv4 or IPv6 address it listens on\n\
                 F:4: backend.web-1.addres: found an unknown key, expected address (did you mean that?)",
            ),
            ("weight = 0", "weight = -1", "F:6: backend.web-1.weight: found -1, expected an integer from 0 to 65535"),
            (
                "weight = 0",
                "weight = 65536",
                "F:6: backend.web-1.weight: found 65536, expected an integer from 0 to 65535",
            ),
            (
                "weight = 0",
                "wieght = 1",
                "F:6: backend.web-1.wieght: found an unknown key, expected weight (did you mean that?)",
            ),
            (
                "port = 8080",
                "port = 70000",
                "F:5: backend.web-1.port: found 70000, expected an integer from 0 to 65535, where 0 is every port",
            ),
            (
                "\"10.0.1.11\"",
                "\"127.0.0.1\"",
                "F:4: backend.web-1.address: found 127.0.0.1, a loopback address, expected the IPv4 or IPv6 address it listens on",
            ),
            (
                "\"10.0.1.11\"",
                "\"host\"",
                "F:4: backend.web-1.address: found \"host\", expected the IPv4 or IPv6 address it listens on",
            ),
            (
                "\"10.0.1.11\"",
                "\"2001:db8::2\"",
                "F:9: backend.web-2.address: found [2001:db8::2]:8080, which the backend on line 4 has too, expected every one once",
            ),
            (
                "id = \"web-1\"",
                "id = \"web-2\"",
                "F:8: backend[2].id: found \"web-2\", which line 3 has too, expected every id once",
            ),
            (
                "id = \"web-1\"\n",
                "",
                "F:2: backend[1].id: found nothing, expected a name of 1 to 255 bytes, unique in the service",
            ),
            (
                "weight = 0",
                "forward = \"gre\"",
                "F:6: backend.web-1.forward: found \"gre\", expected nat, snat, l2, ipip or gue",
            ),
            (
                "weight = 0",
                "server_id = \"coffee\"",
                "F:6: backend.web-1.server_id: found \"coffee\", expected a server id of 1 to 15 bytes, each as two hexadecimal digits",
            ),
            ("service = \"web\"\n", "", "F:1: service: found nothing, expected the service's name, of 1 to 255 bytes"),
            (
                "[[backend]]",
                "[[backends]]",
                "F:2: backends: found an unknown key, expected backend (did you mean that?)",
            ),
        ];
        for (from, to, expected) in rows {
            assert_eq!(parse(&EXAMPLE.replacen(from, to, 1)).expect_err(to), expected);
        }
    }
}
