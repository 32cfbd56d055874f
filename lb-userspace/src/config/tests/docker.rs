//! `[registry.NAME]` of `type = "docker"`.

use std::path::Path;

use super::{EXAMPLE, parse, refusal};
use crate::config::{Engine, Identity, Registry};

fn with(lines: &str) -> String {
    format!("{EXAMPLE}\n[registry.engine]\ntype = \"docker\"\n{lines}")
}

fn engine(lines: &str) -> (Engine, Vec<String>) {
    let config = parse(&with(lines)).expect("good");
    let Some(Registry::Docker(docker)) = config.registries.get("engine") else { panic!("{:?}", config.registries) };
    (docker.engine.clone(), docker.may_create.iter().map(ToString::to_string).collect())
}

#[test]
fn an_engine_is_where_docker_has_it_unless_the_file_says_otherwise() {
    let (found, may_create) = engine("");
    assert_eq!((found.to_string().as_str(), may_create.len()), ("unix:///var/run/docker.sock", 0));
    let (found, may_create) =
        engine("address = \"unix:///run/d.sock\"\nmay_create = [\"192.0.2.0/24\", \"2001:db8::/64\", \"203.0.113.1\"]");
    assert_eq!(found, Engine::Socket("/run/d.sock".into()));
    assert_eq!(may_create, ["192.0.2.0/24", "2001:db8::/64", "203.0.113.1/32"]);
    let (found, _) = engine("address = \"tcp://docker.example\"");
    assert_eq!(found.to_string(), "tcp://docker.example:2375, insecure: without TLS");
    let (found, _) = engine(
        "address = \"tcp://docker.example\"\nca_file = \"ca.pem\"\ncert_file = \"cert.pem\"\nkey_file = \"/k.pem\"",
    );
    assert_eq!(found.to_string(), "tcp://docker.example:2376");
    let Engine::Tcp { tls: Some(tls), .. } = found else { panic!("{found}") };
    assert_eq!(tls.ca_file, Path::new("/etc/weir/ca.pem"));
    let identity = Identity { cert_file: "/etc/weir/cert.pem".into(), key_file: "/k.pem".into() };
    assert_eq!(tls.identity, identity);
}

#[test]
fn what_is_wrong_is_said() {
    let address =
        "expected the engine's address, such as \"unix:///var/run/docker.sock\" or \"tcp://docker.example:2376\"";
    let prefixes = "expected an array of at most 256 prefixes, such as [\"192.0.2.0/24\", \"2001:db8::/64\"]";
    for (lines, expected) in [
        ("address = 1", format!("F:30: registry.engine.address: found the integer 1, {address}")),
        ("address = \"unix://\"", format!("F:30: registry.engine.address: found \"unix://\", {address}")),
        (
            "address = \"/var/run/docker.sock\"",
            format!("F:30: registry.engine.address: found \"/var/run/docker.sock\", {address}"),
        ),
        (
            "address = \"tcp://user:pass@host\"",
            format!("F:30: registry.engine.address: found an address with a user or a password in it, {address}"),
        ),
        (
            "address = \"tcp://host/v1.41\"",
            format!(
                "F:30: registry.engine.address: found \"tcp://host/v1.41\", with a path, a query or a fragment, {address}"
            ),
        ),
        (
            "ca_file = \"ca.pem\"",
            "F:30: registry.engine.ca_file: found with a Unix socket, expected only with tcp://: without TLS it has no use"
                .to_owned(),
        ),
        (
            "address = \"tcp://host\"\nca_file = \"ca.pem\"\ncert_file = \"cert.pem\"",
            "F:28: registry.engine.key_file: found nothing, expected its path: TLS with a Docker engine takes ca_file, \
             cert_file and key_file"
                .to_owned(),
        ),
        (
            "may_create = [\"192.0.2.1/24\"]",
            format!(
                "F:30: registry.engine.may_create: found \"192.0.2.1/24\", with bits behind the first 24 (did you mean \
                 192.0.2.0/24?), {prefixes}"
            ),
        ),
        ("may_create = true", format!("F:30: registry.engine.may_create: found true, {prefixes}")),
        (
            "adress = \"unix:///x\"",
            "F:30: registry.engine.adress: found an unknown key, expected address (did you mean that?)".to_owned(),
        ),
    ] {
        assert_eq!(refusal(&with(lines)), expected);
    }
}
