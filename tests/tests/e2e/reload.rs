//! Another configuration while it runs: what changes, what does not, and what is refused.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::Signal;
use weir::api::types::{PlanReport, Status};
use weir_tests::lab::{CliOutput, FileRegistry, HttpLoad, HttpReport, vip_v4, wait_until};

use crate::lasting::{self, Lasting, PATIENCE};
use crate::stand::{SOON, Service, Stand, config, row};

fn vip() -> SocketAddr {
    (vip_v4(10), 80).into()
}

fn web() -> Service {
    Service::tcp("web", vip())
}

fn requests(stand: &Stand, vip: SocketAddr) -> HttpReport {
    HttpLoad { timeout: SOON / 5, ..HttpLoad::new(vip, 60) }.run(&stand.lab.clients[0].netns)
}

fn assert_answered(stand: &Stand, vip: SocketAddr) {
    let report = requests(stand, vip);
    assert_eq!((report.failed(), report.answered()), (0, 60), "{:?}\n{}", report.errors, stand.weir.log());
}

/// `weir reload` with this configuration, which is taken over.
fn reload(stand: &Stand, text: &str) -> PlanReport {
    stand.write_config(text);
    let report: PlanReport = stand.rows(&["reload"]);
    assert!(report.applied, "{report:#?}");
    report
}

/// What becomes of each service.
fn changes(report: &PlanReport) -> BTreeMap<&str, &str> {
    report.services.iter().map(|service| (service.service.as_str(), service.change.as_str())).collect()
}

/// What must be as it was after a refusal: what was published, when, and how far the registries are.
fn standing(stand: &Stand) -> (u64, Vec<(String, u32)>, Vec<String>, u32) {
    let Status { generation, registries, moving, .. } = stand.status();
    let slots = stand.backends("web").into_iter().map(|row| (row.id, row.slots)).collect();
    (generation, slots, registries.into_iter().map(|row| row.source).collect(), moving.slots)
}

/// `weir VERB…` is refused with 1, says all this, and nothing changes.
fn refused(stand: &Stand, words: &[&str], says: &[&str]) -> CliOutput {
    let before = standing(stand);
    let said = stand.weir.cli(words).unwrap();
    assert_eq!(said.code, Some(1), "{words:?}: {said:?}");
    assert!(says.iter().all(|part| said.stderr.contains(part)), "{says:?}: {said:?}");
    assert_eq!(standing(stand), before);
    assert_answered(stand, vip());
    said
}

#[test]
fn services_join_and_leave_and_the_connections_of_those_that_left_go_on() {
    let lasting = Lasting::new(2, 20);
    let stand = &lasting.stand;
    let (before, all) = (lasting.by_backend(), lasting::services());
    let more = Service::tcp("more", (vip_v4(40), 80).into()).with(lasting::IDLE);
    stand.registry.publish("more", &more.entries(&stand.lab)).unwrap();
    let with_more: Vec<Service> = all.iter().cloned().chain([more]).collect();
    let report = reload(stand, &lasting::config(&stand.lab, &with_more));
    let same = |name| (name, "same");
    assert_eq!(
        changes(&report),
        BTreeMap::from([same("tcp"), ("more", "new"), same("udp"), same("tcp6"), same("udp6")])
    );
    assert_answered(stand, (vip_v4(40), 80).into());

    // Those of TCP and UDP over IPv4 are taken out.
    let report = reload(stand, &lasting::config(&stand.lab, &[all[1].clone(), all[3].clone()]));
    let left: Vec<&str> =
        changes(&report).into_iter().filter(|(_, change)| *change == "removed").map(|(name, _)| name).collect();
    assert_eq!(left, ["more", "tcp", "udp"]);
    let refused = stand.refused("no_backend");
    let connect = |vip: SocketAddr| stand.lab.clients[0].netns.run(|| TcpStream::connect_timeout(&vip, SOON / 5));
    assert!(connect(lasting::vip("tcp")).is_err());
    assert!(stand.refused("no_backend") > refused);
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    let rows = stand.backends("tcp");
    assert!(rows.len() == 2 && rows.iter().all(|row| row.slots == 0 && row.state == "draining"), "{rows:#?}");

    // One comes back.
    let report = reload(stand, &lasting::config(&stand.lab, &[all[1].clone(), all[2].clone(), all[3].clone()]));
    assert_eq!(changes(&report).get("udp"), Some(&"changed"), "{report:#?}");
    assert!(stand.backends("udp").iter().all(|row| row.state == "active"));
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    lasting.tcp.end();
    lasting.udp.end();
    wait_until("the service to be gone", PATIENCE, || {
        let rows: Vec<weir::api::types::BackendRow> = stand.rows(&["backends"]);
        rows.iter().all(|row| !["tcp", "more"].contains(&row.service.as_str())).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", stand.weir.log()));
    // Its packets are a stranger's now.
    let (refused, strange) = (stand.refused("no_backend"), stand.refused("no_service"));
    assert!(connect(lasting::vip("tcp")).is_err());
    assert!(stand.refused("no_service") > strange);
    assert_eq!(stand.refused("no_backend"), refused);
    lasting.assert_unbroken();
}

#[test]
fn limits_change_and_those_that_stay_keep_their_count() {
    let limit = "limit = { per = \"service\", rate = 1000000, unit = \"packets/s\" }";
    let (web, other) = (web().with(limit), Service::tcp("other", (vip_v4(11), 80).into()));
    let stand = Stand::new(1, 2, &[web.clone(), other.clone()]);
    assert_answered(&stand, vip());
    let before = stand.limits()[0].admitted;
    assert!(before > 0);

    let strict = other.clone().with("limit = { per = \"source\", rate = 1, unit = \"packets/s\" }");
    reload(&stand, &config(&stand.lab, &[web.clone(), strict]));
    let report = requests(&stand, (vip_v4(11), 80).into());
    assert!(report.failed() > 0 && stand.refused("over_source_limit") > 0, "{report:?}");
    let rows = stand.limits();
    assert_eq!(
        rows.iter().map(|row| (row.service.as_str(), row.rate)).collect::<Vec<_>>(),
        [("web", 1_000_000), ("other", 1)]
    );
    assert_eq!(rows[0].admitted, before);
    assert!(rows[1].over > 0);

    reload(&stand, &config(&stand.lab, &[web, other]));
    assert_answered(&stand, (vip_v4(11), 80).into());
    assert_eq!(stand.limits().len(), 1);
}

#[test]
fn a_registrys_path_changes_and_a_change_that_is_too_large_is_refused() {
    let stand = Stand::new(1, 2, &[web()]);
    let mut entries = web().entries(&stand.lab);
    entries[1].weight = 300;
    let other = stand.lab.dir().join("other.d");
    std::fs::create_dir(&other).unwrap();
    std::fs::rename(stand.registry.dir().join("web.toml"), stand.lab.dir().join("aside.toml")).unwrap();
    stand.registry.publish("web", &entries).unwrap();
    std::fs::rename(stand.registry.dir().join("web.toml"), other.join("web.toml")).unwrap();
    std::fs::rename(stand.lab.dir().join("aside.toml"), stand.registry.dir().join("web.toml")).unwrap();
    wait_until("all to be well", SOON, || stand.status().problems.is_empty().then_some(())).unwrap();
    assert!(stand.backends("web").iter().all(|row| row.weight == 100));

    stand.write_config(&config(&stand.lab, &[web()]).replace("services.d", "other.d"));
    let path = stand.lab.dir().join("weir.toml");
    let plan: PlanReport = stand.rows(&["plan", "--config", path.to_str().unwrap()]);
    let moved = plan.services[0].slots_moved;
    assert!(!plan.applied && moved > 65_537 / 5, "{plan:#?}");
    let share = weir::config::Share(plan.moved_ppm).to_string();
    refused(&stand, &["reload", "--max-moved", "1%"], &[&share, "at most 1%", "service web", &moved.to_string()]);

    let done: PlanReport = stand.rows(&["reload", "--max-moved", &share]);
    assert!(done.applied, "{done:#?}");
    assert_eq!((done.moved_ppm, &done.services[0].backends), (plan.moved_ppm, &plan.services[0].backends));
    let rows = stand.backends("web");
    assert!(row(&rows, "b2").slots.abs_diff(3 * row(&rows, "b1").slots) <= 8, "{rows:#?}");
    let change = stand.status().last_change.unwrap();
    assert_eq!((change.moved_ppm, change.services[0].slots_moved), (plan.moved_ppm, moved));
    assert!(stand.status().registries[0].source.contains("other.d"));
    assert_answered(&stand, vip());
    // The one of before is not followed any more, the new one is.
    stand.registry.remove("web.toml").unwrap();
    entries[0].weight = 200;
    stand.registry.publish("web", &entries).unwrap();
    std::fs::rename(stand.registry.dir().join("web.toml"), other.join("web.toml")).unwrap();
    stand.await_backends("web", "the new registry's word", |rows| row(rows, "b1").weight == 200);
    assert!(stand.status().problems.is_empty());
}

#[test]
fn the_list_of_interfaces_changes_under_traffic() {
    let lasting = Lasting::new(2, 20);
    let stand = &lasting.stand;
    stand.lab.weir.ip("link add extra type veth peer name extra2").unwrap();
    stand.lab.weir.ip("link set extra up").unwrap();
    stand.lab.weir.ip("link set extra2 up").unwrap();
    let text = lasting::config(&stand.lab, &lasting::services());
    let before = lasting.by_backend();
    let attached = || {
        let rows = stand.status().interfaces;
        rows.into_iter().map(|row| format!("{} {}", row.name, row.mode)).collect::<Vec<_>>()
    };
    let program = || stand.lab.weir.ip("-details link show dev extra").unwrap().contains("xdp");
    assert!(!program());
    for mode in ["native", "skb"] {
        let extra = format!("\n[[interface]]\nname = \"extra\"\nmode = {mode:?}\n");
        reload(stand, &(text.clone() + &extra));
        assert!(attached().contains(&format!("extra {mode}")), "{:?}\n{}", attached(), stand.weir.log());
        assert!(program());
        lasting.goes_on();
    }
    reload(stand, &text);
    assert_eq!(attached().len(), 2);
    assert!(!program());
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    lasting.assert_unbroken();
}

#[test]
fn a_configuration_that_is_wrong_or_needs_a_restart_changes_nothing() {
    let stand = Stand::new(1, 2, &[web()]);
    let good = config(&stand.lab, &[web()]);
    for (from, to, says) in [
        ("port = 80\n", "prot = 80\n", &["weir.toml:", "prot", "did you mean"][..]),
        ("[weir]\n", "[weir\n", &["weir.toml:1"]),
        ("[weir]\n", "[weir]\ntable_size = 1021\n", &["table_size", "start Weir anew"]),
        (
            "[weir]\n",
            "[weir]\nhash_seed = 7\nmax_sources = 7\nmax_flows = 2048\nmax_backends = 7\n",
            &["hash_seed, max_sources, max_backends, max_flows"],
        ),
        ("bpf/weir\"", "bpf/other\"", &["found another state under [weir]"]),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from:?}");
        stand.write_config(&text);
        refused(&stand, &["reload"], says);
        let path = stand.lab.dir().join("weir.toml");
        refused(&stand, &["plan", "--config", path.to_str().unwrap()], says);
    }
    std::fs::remove_file(stand.lab.dir().join("weir.toml")).unwrap();
    refused(&stand, &["reload"], &["weir.toml", "No such file"]);
    // A device that was never there is a typing error, which would take the programs off the one that is.
    stand.write_config(&good.replace("\"front\"", "\"frnt\""));
    refused(&stand, &["reload"], &["interface.frnt: found no such device", "front"]);
    // Room for more services counts from the next start.
    let report = reload(&stand, &good.replace("[weir]\n", "[weir]\nmax_services = 999\n"));
    assert!(
        report.notes.iter().any(|note| note.contains("max_services = 999 counts from the next start")),
        "{report:?}"
    );
    reload(&stand, &good);
    assert_answered(&stand, vip());
}

#[test]
fn sighup_is_a_reload_whose_outcome_the_log_says() {
    let stand = Stand::new(1, 2, &[web()]);
    let registry = FileRegistry::new(&stand.lab).unwrap();
    let other = Service::tcp("other", (vip_v4(11), 80).into());
    registry.publish("other", &other.entries(&stand.lab)).unwrap();
    let before = standing(&stand);
    stand.write_config("[weir\n");
    stand.weir.signal(Signal::SIGHUP).unwrap();
    let says = |what: &str| {
        wait_until(what, SOON, || stand.weir.log().contains(what).then_some(()))
            .unwrap_or_else(|error| panic!("{error}\n{}", stand.weir.log()));
    };
    says("not reloaded: everything goes on as it was");
    assert!(stand.weir.log().contains("weir.toml:1"), "{}", stand.weir.log());
    assert_eq!(standing(&stand), before);

    stand.write_config(&config(&stand.lab, &[web(), other]));
    stand.weir.signal(Signal::SIGHUP).unwrap();
    says("the configuration was taken over");
    assert_answered(&stand, (vip_v4(11), 80).into());
    assert_answered(&stand, vip());
}
