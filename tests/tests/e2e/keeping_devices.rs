//! Pins, devices and users.

use aya::programs::xdp::XdpMode;
use weir::dataplane::Capacity;
use weir::dataplane::kernel::Object;
use weir_tests::lab::{FileRegistry, Lab, Process, wait_until, weir_binary};

use crate::held::Held;
use crate::keeping::{keeping, names, services, stand, stop, works, write_config};
use crate::stand::{SOON, Stand};

#[test]
fn another_mode_takes_effect_at_the_next_start() {
    let mut stand = stand();
    let skb = keeping(&stand.lab, "").replacen("mode = \"native\"", "mode = \"skb\"", 1);
    stop(&mut stand);
    write_config(&stand, &skb);
    stand.weir.restart(&stand.lab).unwrap();
    let modes: Vec<_> = stand.status().interfaces.into_iter().map(|row| row.mode).collect();
    assert_eq!(modes, ["skb", "native"]);
    assert!(stand.weir.log().contains("wants another mode"), "{}", stand.weir.log());
    assert_eq!(names(&stand, "links").iter().filter(|name| name.starts_with("xdp_skb_")).count(), 1);
    works(&stand);
}

#[test]
fn devices_that_come_and_go_have_their_pins_with_them() {
    let lab = Lab::builder().backends(1).build().unwrap();
    lab.weir.ip("link add extra type veth peer name extra-peer").unwrap();
    lab.weir.ip("link set extra up").unwrap();
    let extra = "\n[[interface]]\nname = \"extra\"\n";
    let stand = Stand::with_config(lab, &services(), extra);
    let pinned = |count: usize| {
        let found = wait_until("pins", SOON, || (names(&stand, "links").len() == count).then_some(()));
        found.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", names(&stand, "links"), stand.weir.log()));
    };
    pinned(6);
    stand.lab.weir.ip("link del extra").unwrap();
    pinned(4);
    // It comes with a program of somebody else's: this process's.
    let mut stranger = Object::load(Capacity::SMALL, false).unwrap();
    stand.lab.weir.ip("link add first type veth peer name first-peer").unwrap();
    stand.lab.weir.run(|| stranger.xdp().unwrap().attach("first", XdpMode::Driver).unwrap());
    stand.lab.weir.ip("link set first name extra").unwrap();
    let problem = wait_until("the problem", SOON, || {
        stand.status().problems.into_iter().find(|problem| problem.contains("held by process"))
    });
    let problem = problem.unwrap_or_else(|error| panic!("{error}: {}", stand.weir.log()));
    let holder = format!("held by process {} (", std::process::id());
    assert!(problem.contains(&holder) && problem.contains("extra"), "{problem}");
    drop(stranger);
    // Tried again, though nothing was heard of the device.
    pinned(6);
    wait_until("no problem", SOON, || stand.status().problems.is_empty().then_some(())).unwrap();
}

/// With the three capabilities of docs/weir.service, and a folder that somebody made for that user.
#[test]
fn who_is_not_root_keeps_and_adopts_too() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    const USER: u32 = 12_345;
    let lab = Lab::builder().backends(1).build().unwrap();
    let (bpffs, state, own) = (lab.state().parent().unwrap().to_owned(), lab.state(), lab.dir().join("own"));
    for (dir, mode) in [(lab.dir(), 0o711), (&bpffs, 0o711)] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    for dir in [&state, &own] {
        std::fs::create_dir(dir).unwrap();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        chown(dir, Some(USER), None).unwrap();
    }
    let registry = FileRegistry::new(&lab).unwrap();
    for service in services() {
        registry.publish(service.name(), &service.entries(&lab)).unwrap();
    }
    let start = |name: &str, more: &str| {
        let good = keeping(&lab, more).replace("weir.sock", "own/weir.sock");
        // What is said later holds.
        let config = if more.contains("on_exit") { good.replacen("on_exit = \"keep\"\n", "", 1) } else { good };
        std::fs::write(lab.dir().join("weir.toml"), config).unwrap();
        let caps = "+net_admin,+bpf,+perfmon";
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", &USER.to_string(), "--clear-groups", "--inh-caps", caps, "--ambient-caps", caps]);
        command.arg(weir_binary()).args(["run", "--config"]).arg(lab.dir().join("weir.toml"));
        let process = Process::start(&lab, &lab.weir, name, &mut command).unwrap();
        let ready = wait_until("it to be ready", SOON * 2, || process.log().contains("run: ready").then_some(()));
        ready.unwrap_or_else(|error| panic!("{error}: {}", process.log()));
        process
    };
    let mut first = start("first", "");
    let links = Held::by(first.pid()).links;
    assert_eq!(links.len(), 4);
    first.kill().unwrap();
    // Another size: the hardest of starts.
    let mut second = start("second", "max_flows = 4096\n");
    assert_eq!(Held::by(second.pid()).links, links);
    let held = Held::by(second.pid());
    assert!(!state.join("next").exists() && !state.join("new").exists());
    second.kill().unwrap();
    let mut third = start("third", "on_exit = \"detach\"\n");
    third.stop(SOON).unwrap();
    held.await_gone();
    assert_eq!(names_in(&state), Vec::<String>::new(), "{}", third.log());
}

fn names_in(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
