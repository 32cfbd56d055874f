//! What the tests stand on: a lab whose Weir's host has an engine, and Weir with a registry of the kind `docker`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::de::DeserializeOwned;
use weir::api::types::{BackendRow, Status};
use weir_tests::lab::docker::{self, Container, Options, Run, lab_server_binary};
use weir_tests::lab::{HTTP_PORT, HttpLoad, HttpReport, Netns, WeirProcess, vip_v4, vip_v6, wait_until, weir_binary};

pub(crate) use weir_tests::lab::docker::{NETWORK, OTHER_NETWORK as OTHER};

/// How long something may take that is to happen soon. Generous: how soon is for the tests that measure it.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The port of the VIPs that speak TCP.
pub(crate) const WEB: u16 = 80;
/// The port of the VIPs that speak UDP.
pub(crate) const ECHO: u16 = 53;

/// The addresses of the VIPs.
pub(crate) fn vips() -> [IpAddr; 2] {
    [vip_v4(10), vip_v6(10)]
}

/// Where TCP is served.
pub(crate) fn web() -> [SocketAddr; 2] {
    vips().map(|vip| (vip, WEB).into())
}

/// A container of the service `web`, which declares its VIPs itself: TCP and UDP, of both families, one port of its own
/// behind them all.
pub(crate) fn declared(name: &str) -> Run {
    let vips = vips().map(|vip| format!("{}/tcp,{}/udp", SocketAddr::new(vip, WEB), SocketAddr::new(vip, ECHO)));
    Run::new(name)
        .words(&["serve", "--udp", &HTTP_PORT.to_string()])
        .label("weir.service", "web")
        .label("weir.port", &HTTP_PORT.to_string())
        .label("weir.vip", &vips.join(","))
}

/// A host with an engine, and what tests do with it.
pub(crate) struct Host(docker::Host);

impl std::ops::Deref for Host {
    type Target = docker::Host;

    fn deref(&self) -> &docker::Host {
        &self.0
    }
}

impl Host {
    /// No container, no Weir.
    pub(crate) fn new() -> Self {
        Self(docker::Host::build(&lab_server_binary()).unwrap())
    }

    /// The same with an engine that is told more.
    pub(crate) fn with(options: &Options) -> Self {
        Self(docker::Host::with(&lab_server_binary(), options).unwrap())
    }

    /// A namespace beyond the NIC.
    pub(crate) fn client(&self) -> &Netns {
        &self.lab.clients[0].netns
    }

    /// Runs a container and waits until it answers the host at its own addresses on a network.
    pub(crate) fn run_on(&self, network: &str, what: Run) -> Container<'_> {
        let container = self.engine.run(&what.network(network)).unwrap();
        for address in container.addresses(network).unwrap() {
            await_answer(&self.lab.weir, (address, HTTP_PORT).into());
        }
        container
    }

    /// Starts Weir, with the engine as a registry that may create services of all the lab's VIPs.
    pub(crate) fn weir(&self) -> Weir<'_> {
        self.weir_with("")
    }

    /// The same with more tables in the configuration.
    pub(crate) fn weir_with(&self, more: &str) -> Weir<'_> {
        self.weir_of(&self.config(more))
    }

    /// The same with this configuration.
    pub(crate) fn weir_of(&self, config: &str) -> Weir<'_> {
        let process = WeirProcess::start(&self.lab, &weir_binary(), config).unwrap();
        Weir { process, host: self }
    }
}

/// Weir at work on a host.
pub(crate) struct Weir<'a> {
    pub(crate) process: WeirProcess,
    pub(crate) host: &'a Host,
}

impl Weir<'_> {
    /// `weir VERB… -o json`.
    pub(crate) fn rows<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        serde_json::from_value(self.process.json(arguments).unwrap()).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        self.rows(&["status"])
    }

    /// The backends of a service; `None` where there is no such service (yet).
    pub(crate) fn backends(&self, service: &str) -> Option<Vec<BackendRow>> {
        let output = self.process.cli(&["backends", service, "-o", "json"]).unwrap();
        if output.code == Some(0) {
            return Some(serde_json::from_str(&output.stdout).unwrap());
        }
        let expected = format!("there is no service {service:?}");
        assert!(output.stderr.contains(&expected), "{output:?}\n{}", self.process.log());
        None
    }

    /// Those of them that take new flows, by name; none where there is no such service (yet).
    pub(crate) fn serving(&self, service: &str) -> BTreeSet<String> {
        let rows = self.backends(service).into_iter().flatten();
        rows.filter(|row| row.slots > 0 && row.weight > 0).map(|row| row.id).collect()
    }

    /// Waits until these and no others take new flows of the service `web`, and sees that requests say so too.
    pub(crate) fn await_serving(&self, what: &str, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        let mut last = BTreeSet::new();
        let there = wait_until(&format!("{what}: {expected:?} to serve"), SOON, || {
            last = self.serving("web");
            (last == expected).then_some(())
        });
        there.unwrap_or_else(|error| {
            panic!("{error}; it is {last:?}\n{:?}\n{}", self.status().problems, self.process.log())
        });
        if expected.is_empty() {
            return;
        }
        // Who answers says its host name, which a container keeps when it is renamed.
        let named = |name: &String| {
            let shown = self.host.engine.inspect(name).ok()?;
            shown["Config"]["Hostname"].as_str().map(str::to_owned)
        };
        let expected: BTreeSet<String> = expected.into_iter().map(|name| named(&name).unwrap_or(name)).collect();
        for target in web() {
            let report = requests(self.host.client(), target, 40 * expected.len());
            let answered: BTreeSet<String> = report.answers.keys().cloned().collect();
            assert_eq!((report.failed(), &answered), (0, &expected), "{what}, {target}: {report:?}");
        }
    }

    /// Waits until a problem is told that has all these words.
    pub(crate) fn await_problem(&self, words: &[&str]) {
        let mut last = vec![];
        let told = wait_until(&format!("a problem with {words:?}"), SOON, || {
            let status = self.status();
            last = status.problems;
            last.extend(status.registries.into_iter().filter_map(|row| row.problem));
            last.iter().any(|problem| words.iter().all(|word| problem.contains(word))).then_some(())
        });
        told.unwrap_or_else(|error| panic!("{error}; the problems are {last:#?}"));
    }
}

/// Waits until somebody answers there.
pub(crate) fn await_answer(from: &Netns, server: SocketAddr) {
    let what = format!("an answer from {server}");
    wait_until(&what, SOON, || (requests(from, server, 1).failed() == 0).then_some(())).unwrap();
}

/// So many requests, each on a connection of its own.
pub(crate) fn requests(from: &Netns, server: SocketAddr, count: usize) -> HttpReport {
    HttpLoad { concurrency: 8, timeout: Duration::from_secs(2), ..HttpLoad::new(server, count) }.run(from)
}
