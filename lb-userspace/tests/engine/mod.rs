//! A host with a real Docker engine, followed by a source: what it says, and waiting for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use weir::config::{DockerRegistry, Engine as Address, Registry};
use weir::source::declared::Declared;
use weir::source::{Publisher, Report, Snapshot, Update, open};
use weir_tests::lab::docker::{Engine, NetworkOptions, Options};
use weir_tests::lab::{Lab, run};

/// For an engine on a busy machine to do as it was told, and for the source to notice.
const DEADLINE: Duration = Duration::from_secs(30);

/// The network that every host has, and its IPv6 subnet.
pub(crate) const NETWORK: &str = "backend";
const NETWORK_V6: &str = "fd00:77::/64";

/// A host with an engine, followed. Fields are dropped in this order.
pub(crate) struct Host {
    updates: mpsc::Receiver<Update>,
    runtime: Runtime,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) declared: Arc<Declared>,
    pub(crate) problem: Option<String>,
    pub(crate) engine: Engine,
    pub(crate) lab: Lab,
}

impl Host {
    /// An engine with [`NETWORK`] and an image, told more, in the state that `prepare` leaves it in; followed as a registry of
    /// this kind.
    pub(crate) fn new(
        options: &Options,
        kind: impl FnOnce(DockerRegistry) -> Registry,
        prepare: impl FnOnce(&Engine),
    ) -> Self {
        Self::followed_on(Runtime::new().expect("a runtime"), options, kind, prepare)
    }

    /// The same, followed by the threads of this runtime.
    pub(crate) fn followed_on(
        runtime: Runtime,
        options: &Options,
        kind: impl FnOnce(DockerRegistry) -> Registry,
        prepare: impl FnOnce(&Engine),
    ) -> Self {
        let lab = Lab::builder().clients(1).backends(0).build().expect("a lab");
        let engine = Engine::start(&lab, &lab.weir, options).expect("an engine");
        make_image(&lab, &engine);
        let network = NetworkOptions { v6: Some(NETWORK_V6.to_owned()), internal: false };
        engine.make_network(NETWORK, &network).expect("a network");
        prepare(&engine);
        let registry = kind(DockerRegistry {
            engine: Address::Socket(engine.socket()),
            may_create: vec!["192.0.2.0/24".parse().expect("a prefix")],
        });
        let source = open("engine", &registry, &[]).expect("a source");
        let (reports, updates) = mpsc::channel(64);
        runtime.spawn(source.follow(Publisher::new("engine", reports)));
        Self { updates, runtime, snapshot: None, declared: Arc::default(), problem: None, engine, lab }
    }

    pub(crate) fn docker(&self, arguments: &str) -> String {
        self.engine.cli(&arguments.split_whitespace().collect::<Vec<_>>()).expect(arguments)
    }

    /// Waits until this holds, and says how long that took.
    pub(crate) fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !holds(self) {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let heard = self.runtime.block_on(async { tokio::time::timeout(left, self.updates.recv()).await });
            let Ok(Some(update)) = heard else {
                panic!("{what} did not come: {:#?}\n{:#?}\n{:?}", self.snapshot, self.declared, self.problem)
            };
            match update.report {
                Report::Snapshot(snapshot) => (self.snapshot, self.problem) = (Some(snapshot), None),
                Report::Declared(declared) => self.declared = declared,
                Report::Problem(problem) => self.problem = Some(problem),
            }
        }
        let took = began.elapsed();
        println!("{what}: {took:?}");
        took
    }

    /// The endpoints of the service `web` of either family: names and weights.
    pub(crate) fn web(&self) -> Vec<(String, u16)> {
        let endpoints = self.snapshot.as_ref().and_then(|snapshot| snapshot.get("web"));
        endpoints.into_iter().flat_map(|all| all.iter()).map(|one| (one.id.to_string(), one.weight)).collect()
    }

    pub(crate) fn wait_problem(&mut self, words: &[&str]) {
        let what = format!("a problem with {words:?}");
        self.wait(&what, |host| {
            host.problem.as_ref().is_some_and(|problem| words.iter().all(|word| problem.contains(word)))
        });
    }
}

/// An image of BusyBox alone, which sleeps.
fn make_image(lab: &Lab, engine: &Engine) {
    let root = lab.dir().join("sleeper");
    std::fs::create_dir_all(root.join("bin")).expect("made");
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    for applet in ["sh", "sleep", "test", "touch", "rm"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("linked");
    }
    let archive = lab.dir().join("sleeper.tar");
    run(std::process::Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".")).expect("an archive");
    let archive = archive.to_str().expect("UTF-8");
    engine.cli(&["import", "--change", "CMD [\"/bin/sleep\", \"1000\"]", archive, "sleeper"]).expect("an image");
}
