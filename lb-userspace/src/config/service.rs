//! `[[service]]`: a VIP and everything said about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::forward::{FORWARDS, Forward};
use super::limit::{self, Limit};
use super::nearest::nearest;
use super::own::Own;
use super::quic::{self, Quic};
use super::registry::{MAX_NAME_BYTES, Registry};
use super::slow_start::{self, SlowStart};
use super::table::{Found, Table, name, one_of};
use super::weir::{DURATION, Weir};
use crate::source::declared::Allow;
use crate::source::{Wanted, unreachable_kind};
use crate::vip::{Protocol, Vip};

/// How many services a configuration may have.
pub const MAX_SERVICES: usize = 16_384;
/// How many tags a service may ask for.
const MAX_TAGS: usize = 16;

/// `[[service]]`: a VIP and everything said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What it listens on.
    pub vip: Vip,
    /// The registry that knows its backends.
    pub registry: String,
    /// What the registry calls it.
    pub registry_service: String,
    /// Tags an instance must have, all of them; sorted, no duplicates. Only Consul knows tags.
    pub registry_tags: Vec<String>,
    /// How packets reach its backends, where the registry does not say.
    pub forward: Forward,
    /// Which QUIC connection ids name a backend; without, its flows are known by addresses and ports alone.
    pub quic: Option<Quic>,
    /// How long a silent flow is believed, 1 s to 24 h: its own, or that of `[weir]` for its protocol.
    pub idle: Duration,
    /// How a new backend comes to its share; at once without.
    pub slow_start: Option<SlowStart>,
    /// Its rate limits, at most [`super::MAX_LIMITS`].
    pub limits: Vec<Limit>,
    /// Who may use it, where its registry says; `None` is everybody.
    pub allow: Option<Allow>,
}

impl Service {
    /// What it wants of its registry; [`Wanted::key`] is where a snapshot has it.
    pub fn wanted(&self) -> Wanted {
        Wanted { service: self.registry_service.clone(), tags: self.registry_tags.clone() }
    }
}

const PROTOCOLS: [(&str, Protocol); 3] = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];

/// Where names and VIPs were first seen.
#[derive(Debug, Default)]
struct Seen {
    names: BTreeMap<String, usize>,
    vips: BTreeMap<Vip, (String, usize)>,
}

/// Reads every `[[service]]`.
pub(super) fn read(
    root: &mut Table<'_, '_>,
    registries: &BTreeMap<String, Option<Registry>>,
    weir: &Weir,
    own: &Own,
) -> Vec<Service> {
    let tables = root.tables("service", "an array of tables, each written [[service]]", false);
    if let Some(table) = tables.get(MAX_SERVICES) {
        root.problem(table.line, "service", format!("found {}, expected at most {MAX_SERVICES}", tables.len()));
    }
    let mut seen = Seen::default();
    let tables = tables.into_iter().take(MAX_SERVICES);
    tables.filter_map(|table| read_one(table, registries, weir, own, &mut seen)).collect()
}

fn read_one(
    mut table: Table<'_, '_>,
    registries: &BTreeMap<String, Option<Registry>>,
    weir: &Weir,
    own: &Own,
    seen: &mut Seen,
) -> Option<Service> {
    let expected = format!("a name of 1 to {MAX_NAME_BYTES} bytes");
    table.require("name", &expected);
    let service_name = table.string("name", &expected, MAX_NAME_BYTES);
    if let Some(found) = service_name {
        if let Some(first) = seen.names.get(found.value) {
            let text = format!("found {:?}, which line {first} names too, expected every name once", found.value);
            table.problem(found.line, "name", text);
        } else {
            seen.names.insert(found.value.to_owned(), found.line);
        }
        table.rename(format!("service.{}", name(found.value)));
    }
    let vip = read_vip(&mut table, service_name.map_or("without a name", |found| found.value), own, seen);
    let registry = read_registry(&mut table, registries);
    let registry_service =
        table.string("registry_service", &format!("{expected}: what the registry calls the service"), MAX_NAME_BYTES);
    let expected = format!("an array of at most {MAX_TAGS} tags, each a string");
    let tags = table.strings("registry_tags", &expected, MAX_TAGS, MAX_NAME_BYTES);
    let known = registry.as_ref().and_then(|name| registries.get(name)).and_then(Option::as_ref);
    match (known, &tags) {
        (Some(Registry::File(_)), Some(tags)) => {
            let text = "found with a registry of type \"file\", expected only with \"consul\": files have no tags";
            table.problem(tags.line, "registry_tags", text);
        }
        (Some(Registry::Docker(_) | Registry::Swarm(_)), Some(tags)) => {
            let text = "found with a registry of type \"docker\" or \"swarm\", expected only with \"consul\": labels \
                        say what a container serves";
            table.problem(tags.line, "registry_tags", text);
        }
        (Some(Registry::Consul(_)), tags) => check_key(&table, registry_service.or(service_name), tags.as_ref()),
        _ => {}
    }
    let forward = read_forward(&mut table, vip, weir);
    let quic = quic::read(&mut table);
    if let (Some((_, line)), Some(Vip { protocol: protocol @ (Protocol::Tcp | Protocol::Sctp), .. })) = (quic, vip) {
        let text = format!("found with protocol {protocol}, expected only with udp, which QUIC runs over");
        table.problem(line, "quic", text);
    }
    let idle = table.duration("idle", DURATION).map(|found| found.value);
    let slow_start = slow_start::read(&mut table);
    let limits = limit::read(&mut table, vip.map(|vip| (forward, vip)));
    table.finish();
    let service_name = service_name?.value;
    let vip = vip?;
    let idle = idle.unwrap_or_else(|| weir.idle(vip.protocol));
    let mut registry_tags = tags.map(|found| found.value).unwrap_or_default();
    registry_tags.sort_unstable();
    registry_tags.dedup();
    Some(Service {
        name: service_name.to_owned(),
        vip,
        registry: registry?,
        registry_service: registry_service.map_or(service_name, |found| found.value).to_owned(),
        registry_tags,
        forward,
        quic: quic.map(|(quic, _)| quic),
        idle,
        slow_start,
        limits,
        allow: None,
    })
}

/// Refuses `#`, which [`Wanted::key`] puts between a name and its tags.
fn check_key(table: &Table<'_, '_>, service: Option<Found<&str>>, tags: Option<&Found<Vec<String>>>) {
    let text = "found a '#', expected none in what Consul is asked for: Weir separates tags by it";
    if let Some(found) = service
        && found.value.contains('#')
    {
        table.problem(found.line, "registry_service", text);
    }
    if let Some(found) = tags
        && found.value.iter().any(|tag| tag.contains('#'))
    {
        table.problem(found.line, "registry_tags", text);
    }
}

/// How packets reach the backends: what the protocol allows, and there are addresses for.
fn read_forward(table: &mut Table<'_, '_>, vip: Option<Vip>, weir: &Weir) -> Forward {
    let found = table.choice("forward", &FORWARDS);
    let forward = found.map_or(Forward::Nat, |found| found.value);
    let Some(vip) = vip else { return forward };
    let line = found.map_or(table.line, |found| found.line);
    if vip.protocol == Protocol::Sctp && !forward.is_direct() {
        let default = if found.is_none() { ", the default" } else { "" };
        let text = format!(
            "found {}{default}, expected l2, ipip or gue: SCTP packets carry addresses inside, which are not rewritten",
            forward.name()
        );
        table.problem(line, "forward", text);
    }
    let has_address = |v4: bool| weir.snat_addresses.iter().any(|address| address.is_ipv4() == v4);
    if forward == Forward::Snat && !has_address(vip.address.is_ipv4()) {
        let family = if vip.address.is_ipv4() { "IPv4" } else { "IPv6" };
        let text = format!(
            "found snat, expected an {family} address in `snat_addresses` under [weir], which packets to the backends come \
             from"
        );
        table.problem(line, "forward", text);
    }
    forward
}

fn read_vip(table: &mut Table<'_, '_>, service: &str, own: &Own, seen: &mut Seen) -> Option<Vip> {
    let expected = "an IPv4 or IPv6 address that clients can reach";
    table.require("vip", expected);
    let address: Option<Found<IpAddr>> = table.address("vip", expected, |address| match unreachable_kind(address) {
        Some(kind) => Err(kind),
        None => Ok(()),
    });
    let expected = "an integer from 0 to 65535, where 0 is every port";
    table.require("port", expected);
    let port = table.integer("port", expected, 0, u16::MAX.into());
    table.require("protocol", "tcp, udp or sctp");
    let protocol = table.choice("protocol", &PROTOCOLS);
    let address = address?;
    if let Some((key, line)) = own.whose(address.value) {
        let text = format!(
            "found {}, which `{key}` on line {line} has too, expected an address that packets to backends do not come from",
            address.value
        );
        table.problem(address.line, "vip", text);
    }
    let vip = Vip { address: address.value, port: u16::try_from(port?.value).ok()?, protocol: protocol?.value };
    if let Some((first, line)) = seen.vips.get(&vip) {
        let text = format!("found {vip}, which service {first:?} on line {line} has, expected every VIP once");
        table.problem(address.line, "vip", text);
    } else {
        seen.vips.insert(vip, (service.to_owned(), address.line));
    }
    Some(vip)
}

fn read_registry(table: &mut Table<'_, '_>, registries: &BTreeMap<String, Option<Registry>>) -> Option<String> {
    let known: Vec<&str> = registries.keys().map(String::as_str).collect();
    let expected = match known.as_slice() {
        [] => "a [registry.NAME] in this file, and its name here".to_owned(),
        known => format!("the name of a registry: {}", one_of(known)),
    };
    let found = table.get("registry", &expected, |value| match value.as_str() {
        Some(found) if registries.contains_key(found) => Ok(found.to_owned()),
        Some(found) => Err(match nearest(found, &known) {
            Some(near) => format!("{found:?} (did you mean {near}?)"),
            None => super::document::quoted(found),
        }),
        None => Err(super::table::describe(value)),
    });
    match (found, known.as_slice()) {
        (Some(found), _) => Some(found.value),
        (None, [only]) if !table.has("registry") => Some((*only).to_owned()),
        (None, _) => {
            table.require("registry", &expected);
            None
        }
    }
}
