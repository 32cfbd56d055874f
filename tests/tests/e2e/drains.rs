//! Draining: what is open stays, what is new goes elsewhere, and the end is said when it is there and not before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use weir::api::types::{BackendRow, DrainRow};
use weir_tests::lab::{CliOutput, Entry, HttpLoad, vip_v4, wait_until};

use crate::lasting::{IDLE, Lasting, PATIENCE, SERVICES, TABLE_SIZE, service};
use crate::stand::{SOON, Service, Stand, row};

/// The connections that the drains of one backend know, TCP and UDP.
fn flows(rows: &[DrainRow]) -> [u64; 2] {
    [false, true].map(|udp| {
        let of_kind = |row: &&DrainRow| row.service.starts_with("udp") == udp;
        rows.iter().filter(of_kind).map(|row| row.flows).sum()
    })
}

fn are(rows: &[DrainRow], state: &str) -> bool {
    rows.len() == SERVICES.len() && rows.iter().all(|row| row.state == state)
}

/// Waits until nothing but connections that are known keep a backend, and these are all that it has.
fn await_known(lasting: &Lasting, backend: &str) -> Vec<DrainRow> {
    lasting.await_drains(backend, "every connection to be known", |rows| {
        let known = flows(rows) == lasting.with(backend).map(|connections| connections as u64);
        known && are(rows, "draining") && rows.iter().all(|row| !row.unseen)
    })
}

/// `weir drain` with these words, to its end.
fn drain(stand: &Stand, words: &[&str]) -> CliOutput {
    stand.weir.cli(&[&["drain"], words].concat()).unwrap()
}

#[test]
fn what_is_open_stays_what_is_new_does_not_come_and_the_end_is_exact() {
    let lasting = Lasting::new(3, 60);
    let Lasting { tcp, udp, stand, .. } = &lasting;
    let (before, mine) = (lasting.by_backend(), lasting.with("b1"));
    assert!(mine[0] > 0 && mine[1] > 0, "{before:?}");
    let slots = SERVICES.map(|(service, _)| row(&stand.backends(service), "b1").slots);

    let rows: Vec<DrainRow> = stand.rows(&["drain", "b1"]);
    assert!(are(&rows, "draining") && rows.iter().all(|row| row.id == "b1" && row.unseen), "{rows:#?}");
    let by_name: BTreeMap<&str, u32> = rows.iter().map(|row| (row.service.as_str(), row.slots)).collect();
    assert_eq!(SERVICES.map(|(service, _)| by_name[service]), slots);

    let rows = await_known(&lasting, "b1");
    // Whatever has no connection has settled.
    assert!(rows.iter().all(|row| u64::from(row.slots) <= row.flows), "{rows:#?}");
    for (service, _) in SERVICES {
        let rows = stand.backends(service);
        let mine = row(&rows, "b1");
        assert_eq!((mine.slots, mine.state.as_str(), mine.weight), (0, "draining", 100), "{mine:?}");
    }
    let newcomers = lasting.newcomers(60);
    assert!(newcomers.iter().all(|with| !with.contains_key("b1") && with.len() == 2), "{newcomers:?}");
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);

    // TCP says when it ends.
    let end_of = |words: &[&str], end: &dyn Fn(), open: &dyn Fn() -> usize| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (drain(stand, words), Instant::now()));
            lasting.goes_on();
            assert!(!waiting.is_finished(), "{words:?}: {:?}", waiting.join());
            end();
            let mut last = Instant::now();
            wait_until("the fleet to end", PATIENCE, || {
                if open() > 0 {
                    last = Instant::now();
                    return None;
                }
                Some(())
            })
            .unwrap();
            let (said, returned) = waiting.join().unwrap();
            assert_eq!(said.code, Some(0), "{said:?}\n{}", stand.weir.log());
            println!("{words:?}: {:?} after the last connection was closed", returned.duration_since(last));
            said
        })
    };
    let tcp_open = || tcp.by_backend().get("b1").copied().unwrap_or(0);
    let words = ["b1", "--service", "tcp", "--wait", "--deadline", "30s"];
    let said = end_of(&words, &|| tcp.end(), &tcp_open);
    assert!(said.stdout.contains("drained") && said.stderr.contains("tcp: b1 is drained"), "{said:?}");
    lasting.await_drains("b1", "TCP to be drained and UDP not", |rows| {
        rows.iter().all(|row| (row.state == "drained") != row.service.starts_with("udp"))
    });
    // UDP does not: an idle time-out does.
    let udp_open = || udp.by_backend().get("b1").copied().unwrap_or(0);
    end_of(&["b1", "--wait", "--deadline", "30s"], &|| udp.end(), &udp_open);
    let rows = stand.drains(None);
    assert!(are(&rows, "drained") && rows.iter().all(|row| (row.slots, row.flows, row.unseen) == (0, 0, false)));
    for (service, _) in SERVICES {
        let rows = stand.backends(service);
        let mine = row(&rows, "b1");
        assert_eq!((mine.slots, mine.slots_moving, mine.state.as_str()), (0, 0, "drained"), "{mine:?}");
    }
    lasting.assert_unbroken();
}

/// `--wait` without somebody who ends it: what is left is said, and it goes on.
#[test]
fn waiting_can_be_bounded_without_ending_anything() {
    let lasting = Lasting::new(2, 20);
    let before = lasting.by_backend();
    let said = drain(&lasting.stand, &["b2", "--wait", "--deadline", "1s"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("not drained within 1s") && said.stderr.contains("tcp6: b2 has "), "{said:?}");
    assert!(said.stdout.contains("draining"), "{said:?}");
    let alone = drain(&lasting.stand, &["b2", "--deadline", "1s"]);
    assert_eq!(alone.code, Some(2), "{alone:?}");
    await_known(&lasting, "b2");
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    lasting.assert_unbroken();
}

#[test]
fn undrain_gives_the_same_slots_back() {
    let vip: SocketAddr = (vip_v4(10), 80).into();
    let stand = Stand::new(1, 3, &[Service::tcp("web", vip).with(IDLE)]);
    let who = || {
        let load = HttpLoad { source_ports: (2_000..2_400).collect(), ..HttpLoad::new(vip, 400) };
        let report = load.run(&stand.lab.clients[0].netns);
        assert_eq!((report.failed(), report.answered()), (0, 400), "{:?}", report.errors);
        report.by_request
    };
    let slots = || stand.backends("web").into_iter().map(|row| (row.id, row.slots)).collect::<BTreeMap<_, _>>();
    let (first, before) = (who(), slots());
    let _: Vec<DrainRow> = stand.rows(&["drain", "b3"]);
    let moved = stand.status().last_change.unwrap();
    assert_eq!(moved.services[0].backends.iter().find(|one| one.id == "b3").unwrap().slots_moved, before["b3"]);
    let meanwhile = who();
    assert!(meanwhile.values().all(|name| name != "b3"), "{meanwhile:?}");
    let stayed = |(number, name): (&usize, &String)| name == "b3" || meanwhile[number] == *name;
    // Maglev moves few of the others' slots too.
    assert!(first.iter().filter(|(number, name)| !stayed((number, name))).count() < 20);

    let rows: Vec<DrainRow> = stand.rows(&["undrain", "b3"]);
    assert!(rows.iter().all(|row| row.state == "active"), "{rows:#?}");
    let back = stand.status().last_change.unwrap();
    assert_eq!((back.moved_ppm, back.services[0].slots_moved), (moved.moved_ppm, moved.services[0].slots_moved));
    assert_eq!(slots(), before);
    // While slots hand over back, and when they have settled.
    assert_eq!(who(), first);
    wait_until("all slots to settle", PATIENCE, || (stand.status().moving.slots == 0).then_some(())).unwrap();
    assert_eq!(who(), first);
    assert!(stand.drains(None).is_empty());
}

#[test]
fn a_deadline_cuts_what_is_left_and_undrain_brings_the_backend_back() {
    let lasting = Lasting::new(2, 40);
    let stand = &lasting.stand;
    let slots = SERVICES.map(|(service, _)| row(&stand.backends(service), "b1").slots);
    let excused = lasting.ledger.excuse("b1");
    let ordered: Vec<DrainRow> = stand.rows(&["drain", "b1", "--deadline", "3s", "--then", "remove"]);
    assert!(are(&ordered, "draining") && ordered.iter().all(|row| row.then.as_deref() == Some("remove")));
    assert!(ordered.iter().all(|row| row.deadline_s.is_some_and(|left| left <= 3)), "{ordered:#?}");
    lasting.await_drains("b1", "the backend to be taken out", |rows| are(rows, "removed"));
    for (service, _) in SERVICES {
        let rows = stand.await_backends(service, "b1 to have nothing left", |rows| {
            let mine = row(rows, "b1");
            (mine.slots, mine.slots_moving) == (0, 0)
        });
        assert_eq!(row(&rows, "b1").state, "removed", "{rows:#?}");
        assert_eq!(row(&rows, "b2").slots, TABLE_SIZE);
    }
    wait_until("all connections to be with b2", PATIENCE, || {
        (lasting.with("b1") == [0, 0] && lasting.with("b2") == [40, 40]).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:?} {:#?}", lasting.by_backend(), lasting.ledger.breaks()));
    drop(excused);
    // Again is as good as once, whether it is waited for or not.
    assert_eq!(drain(stand, &["b1", "--wait", "--then", "remove"]).code, Some(0));

    let rows: Vec<DrainRow> = stand.rows(&["undrain", "b1"]);
    assert!(are(&rows, "active"), "{rows:#?}");
    let back = SERVICES.map(|(service, _)| {
        let rows = stand.backends(service);
        (row(&rows, "b1").slots, row(&rows, "b1").state.clone())
    });
    assert_eq!(back, slots.map(|slots| (slots, "active".to_owned())));
    lasting.goes_on();
    assert_eq!(lasting.with("b2"), [40, 40], "what went to b2 meanwhile stays there");
    wait_until("UDP's newcomers to be told from those of before", PATIENCE, || {
        lasting.newcomers(20).iter().all(|with| with.contains_key("b1")).then_some(())
    })
    .unwrap();
    lasting.assert_unbroken();
}

#[test]
fn weight_0_and_a_registry_that_forgets_drain_likewise() {
    let lasting = Lasting::new(3, 45);
    let Lasting { tcp, udp, stand, .. } = &lasting;
    let before = lasting.by_backend();
    for (name, _) in SERVICES {
        let mut entries = service(name).entries(&stand.lab);
        entries[0].weight = 0;
        entries.remove(1);
        stand.registry.publish(name, &entries).unwrap();
    }
    for (name, _) in SERVICES {
        let rows = stand.await_backends(name, "b3 to be the only one", |rows| row(rows, "b3").slots == TABLE_SIZE);
        for id in ["b1", "b2"] {
            let (mine, state) = (row(&rows, id), "draining");
            assert_eq!((mine.slots, mine.weight, mine.state.as_str()), (0, 0, state), "{rows:#?}");
            assert!(mine.slots_moving > 0, "{rows:#?}");
        }
    }
    // Nobody has ordered that.
    assert!(stand.drains(None).is_empty());
    wait_until("UDP's newcomers to be told from those of before", PATIENCE, || {
        lasting.newcomers(20).iter().all(|with| with.keys().eq(["b3"])).then_some(())
    })
    .unwrap();
    lasting.goes_on();
    assert_eq!(lasting.by_backend(), before);
    tcp.end();
    udp.end();
    for (name, _) in SERVICES {
        let is_over = |rows: &[BackendRow]| {
            let left: Vec<(&str, &str)> = rows.iter().map(|row| (row.id.as_str(), row.state.as_str())).collect();
            left == [("b1", "drained"), ("b3", "active")]
        };
        let mut last = vec![];
        wait_until("b1 to be drained and b2 forgotten", PATIENCE, || {
            last = stand.backends(name);
            is_over(&last).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {last:#?}\n{}", stand.weir.log()));
    }
    lasting.assert_unbroken();
}

#[test]
fn a_weight_that_was_ordered_holds_against_the_registrys() {
    let web = Service::tcp("web", (vip_v4(10), 80).into());
    let mut stand = Stand::new(1, 2, std::slice::from_ref(&web));
    let of = |stand: &Stand| row(&stand.backends("web"), "b1").weight;
    let share = |stand: &Stand| f64::from(row(&stand.backends("web"), "b1").slots) / 65_537.0;
    let rows: Vec<BackendRow> = stand.rows(&["weight", "b1", "300"]);
    assert_eq!((rows.len(), rows[0].weight, rows[0].id.as_str()), (1, 300, "b1"));
    assert!((share(&stand) - 0.75).abs() < 0.001, "{}", share(&stand));

    let mut entries = web.entries(&stand.lab);
    (entries[0].weight, entries[1].weight) = (50, 900);
    stand.registry.publish("web", &entries).unwrap();
    stand.await_backends("web", "the registry's word", |rows| row(rows, "b2").weight == 900);
    assert_eq!(of(&stand), 300);
    assert!((share(&stand) - 0.25).abs() < 0.001, "{}", share(&stand));

    stand.weir.kill().unwrap();
    stand.weir.restart(&stand.lab).unwrap();
    assert_eq!((of(&stand), row(&stand.backends("web"), "b2").weight), (300, 900));
    let rows: Vec<BackendRow> = stand.rows(&["weight", "b1", "--clear"]);
    assert_eq!(rows[0].weight, 50);
    assert_eq!(drain(&stand, &["b1"]).code, Some(0));
    // A drain and a weight are two orders.
    let rows: Vec<BackendRow> = stand.rows(&["weight", "b1", "100"]);
    assert_eq!((rows[0].weight, rows[0].slots, rows[0].state != "active"), (100, 0, true));
    let _: Vec<DrainRow> = stand.rows(&["undrain", "b1"]);
    assert!((share(&stand) - 0.1).abs() < 0.001, "{}", share(&stand));
    for words in [&["weight", "b1"][..], &["weight", "b1", "65536"], &["weight", "b1", "1", "--clear"]] {
        assert_eq!(stand.weir.cli(words).unwrap().code, Some(2), "{words:?}");
    }
}

#[test]
fn when_the_last_backend_drains_new_connections_are_refused_and_the_open_ones_live() {
    let lasting = Lasting::new(1, 20);
    let stand = &lasting.stand;
    assert_eq!(drain(stand, &["b1"]).code, Some(0));
    await_known(&lasting, "b1");
    let refused = stand.refused("no_backend");
    let client = &stand.lab.clients[0].netns;
    let target = crate::lasting::vip("tcp");
    let tried = client.run(|| std::net::TcpStream::connect_timeout(&target, SOON / 5));
    assert!(tried.is_err(), "{tried:?}");
    assert!(stand.refused("no_backend") > refused);
    lasting.goes_on();
    assert_eq!(lasting.with("b1"), [20, 20]);
    let rows = stand.backends("tcp");
    assert_eq!((rows[0].slots, rows[0].state.as_str()), (0, "draining"));
    let _: Vec<DrainRow> = stand.rows(&["undrain", "b1"]);
    assert_eq!(client.run(|| std::net::TcpStream::connect_timeout(&target, SOON)).map(drop).ok(), Some(()));
    assert_eq!(stand.backends("tcp")[0].slots, TABLE_SIZE);
    lasting.goes_on();
    lasting.assert_unbroken();
}

#[test]
fn a_drain_outlives_a_crash_and_a_kept_end() {
    let mut lasting = Lasting::new(2, 30);
    let text = std::fs::read_to_string(lasting.stand.lab.dir().join("weir.toml")).unwrap();
    let before = lasting.by_backend();
    let ordered: Vec<DrainRow> =
        lasting.stand.rows(&["drain", "b1", "--deadline", "1h", "--then", "reset", "--service", "tcp"]);
    assert_eq!(ordered[0].then.as_deref(), Some("reset"));
    for (service, _) in &SERVICES[1..] {
        assert_eq!(drain(&lasting.stand, &["b1", "--service", service]).code, Some(0));
    }
    for crash in [true, false] {
        let Stand { weir, lab, .. } = &mut lasting.stand;
        if crash {
            weir.kill().unwrap();
        } else {
            std::fs::write(lab.dir().join("weir.toml"), text.replace("[weir]\n", "[weir]\non_exit = \"keep\"\n"))
                .unwrap();
            let said = weir.cli(&["reload"]).unwrap();
            assert_eq!(said.code, Some(0), "{said:?}");
            weir.stop().unwrap();
        }
        weir.restart(lab).unwrap();
        assert!(lasting.stand.status().adopted);
        let rows = await_known(&lasting, "b1");
        let ordered = rows.iter().find(|row| row.service == "tcp").unwrap();
        assert_eq!(ordered.then.as_deref(), Some("reset"));
        assert!(ordered.deadline_s.is_some_and(|left| left > 3_000 && left <= 3_600), "{ordered:?}");
        let newcomers = lasting.newcomers(20);
        assert!(newcomers.iter().all(|with| with.keys().eq(["b2"])), "{newcomers:?}");
        lasting.goes_on();
        assert_eq!(lasting.by_backend(), before);
    }
    lasting.tcp.end();
    lasting.udp.end();
    lasting.await_drains("b1", "the end of all drains", |rows| {
        rows.iter().all(|row| row.state == if row.service == "tcp" { "removed" } else { "drained" })
    });
    lasting.assert_unbroken();
}

#[test]
fn a_backend_that_is_not_clear_is_refused_by_name() {
    let (web, web2) = (Service::tcp("web", (vip_v4(10), 80).into()), Service::tcp("web2", (vip_v4(11), 80).into()));
    let stand = Stand::new(1, 2, &[web.clone(), web2]);
    // Two at one address.
    let mut entries = web.entries(&stand.lab);
    entries.push(Entry { port: entries[0].port + 1, ..Entry::new("b1-too", entries[0].address, 0, 100) });
    stand.registry.publish("web", &entries).unwrap();
    stand.await_backends("web", "the third", |rows| rows.len() == 3);
    let (address, port) = (entries[0].address, entries[0].port);
    let (at, unknown_port) = (address.to_string(), format!("{address}:9"));
    for (words, says) in [
        (&["nobody"][..], &["\"nobody\"", "b1, b1-too, b2"][..]),
        (&["10.9.9.9"], &["\"10.9.9.9\"", "b1, b1-too, b2"]),
        (&[&unknown_port], &[&unknown_port, "b1, b1-too, b2"]),
        (&["b1-too", "--service", "web2"], &["\"b1-too\"", "\"web2\"", "b1, b2"]),
        (&["b1", "--service", "wbe"], &["\"wbe\"", "web, web2"]),
        (&[&at], &[&at, "b1", "b1-too", "ADDRESS:PORT"]),
    ] {
        for verb in ["drain", "undrain", "weight"] {
            let number: &[&str] = if verb == "weight" { &["7"] } else { &[] };
            let said = stand.weir.cli(&[&[verb], words, number].concat()).unwrap();
            assert_eq!(said.code, Some(1), "{verb} {words:?}: {said:?}");
            assert!(says.iter().all(|part| said.stderr.contains(part)), "{verb} {words:?}: {said:?}");
        }
    }
    assert!(stand.drains(None).is_empty());
    // An id, an address or both, when they are clear; in all services, or in one.
    let named = |words: &[&str]| -> Vec<(String, String)> {
        let rows: Vec<DrainRow> = stand.rows(&[&["drain"], words].concat());
        rows.into_iter().map(|row| (row.service, row.id)).collect()
    };
    let pair = |service: &str, id: &str| (service.to_owned(), id.to_owned());
    assert_eq!(named(&["b1", "--service", "web2"]), [pair("web2", "b1")]);
    assert_eq!(named(&[&at, "--service", "web2"]), [pair("web2", "b1")]);
    assert_eq!(named(&[&format!("{address}:{}", port + 1)]), [pair("web", "b1-too")]);
    assert_eq!(named(&["b2"]), [pair("web", "b2"), pair("web2", "b2")]);
}
