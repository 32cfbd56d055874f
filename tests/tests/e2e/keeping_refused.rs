//! What is pinned and will not do: named, and left as it is.

use aya::maps::{Array, Map, MapData};
use lb_common::abi::Meta;
use weir::dataplane::kernel::pins;
use weir_tests::lab::{FRONT, Lab, WeirProcess, weir_binary};

use crate::held::Held;
use crate::host_state::HostState;
use crate::keeping::{keeping, kept, names, services, stand, stop, works, write_config};
use crate::stand::{SOON, Stand, config};

/// A start that is refused, says all this, and changes nothing.
pub(crate) fn refused(stand: &mut Stand, says: &[&str]) {
    stand.weir.restart_unready(&stand.lab, &weir_binary()).unwrap();
    assert_eq!(stand.weir.wait(SOON).unwrap().code(), Some(1), "{}", stand.weir.log());
    let log = stand.weir.log();
    let said = log.lines().rev().find(|line| line.starts_with("weir: ")).unwrap_or_else(|| panic!("{log}"));
    for part in says {
        assert!(said.contains(part), "{part:?} is not said: {said}");
    }
}

#[test]
fn maps_of_another_version_keep_running_and_are_not_touched() {
    let mut stand = stand();
    let held = Held::by(stand.weir.pid());
    stop(&mut stand);
    let meta = stand.lab.state().join("maps/META");
    let map = Map::from_map_data(MapData::from_pin(&meta).unwrap()).unwrap();
    let mut map: Array<MapData, Meta> = map.try_into().unwrap();
    let found = map.get(&0, 0).unwrap();
    map.set(0, Meta { version: 99, ..found }, 0).unwrap();
    refused(&mut stand, &["META", "version 99", "cannot migrate", "keeps running", "weir detach"]);
    assert_eq!(names(&stand, "links").len(), 4);
    kept(&held);
    works(&stand);
    map.set(0, Meta { magic: 7, ..found }, 0).unwrap();
    refused(&mut stand, &["META", "not Weir's"]);
    kept(&held);
    map.set(0, found, 0).unwrap();
    stand.weir.restart(&stand.lab).unwrap();
    // Of whatever version, it can be taken off.
    stop(&mut stand);
    map.set(0, Meta { version: 99, ..found }, 0).unwrap();
    drop(map);
    let said = pins::detach(&stand.lab.state()).unwrap().join("\n");
    assert!(said.contains("maps of version 99") && !stand.lab.state().exists(), "{said}");
    held.await_gone();
}

#[test]
fn what_is_not_weirs_is_named_and_left() {
    let mut stand = stand();
    stop(&mut stand);
    let state = stand.lab.state();
    let foreign: Array<MapData, u64> = Array::create(4, 0).unwrap();
    foreign.pin(state.join("maps/STRANGER")).unwrap();
    refused(&mut stand, &["maps/STRANGER", "did not pin", "take it away"]);
    std::fs::remove_file(state.join("maps/STRANGER")).unwrap();
    // In the place of one of Weir's.
    std::fs::rename(state.join("maps/DEVICES"), state.join("../kept")).unwrap();
    let foreign: Array<MapData, u64> = Array::create(4, 0).unwrap();
    foreign.pin(state.join("maps/DEVICES")).unwrap();
    refused(&mut stand, &["maps/DEVICES", "found Array of 4 entries", "expected Hash"]);
    std::fs::rename(state.join("../kept"), state.join("maps/DEVICES")).unwrap();
    std::fs::create_dir(state.join("other")).unwrap();
    refused(&mut stand, &["weir/other", "did not pin"]);
    std::fs::remove_dir(state.join("other")).unwrap();
    works(&stand);
    stand.weir.restart(&stand.lab).unwrap();
    works(&stand);
}

#[test]
fn a_folder_that_will_not_do_is_refused() {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    let mut stand = Stand::new(1, 1, &services());
    stop(&mut stand);
    let (state, good) = (stand.lab.state(), config(&stand.lab, &services()));
    assert!(!state.exists());
    let elsewhere = stand.lab.dir().join("no-bpffs");
    write_config(&stand, &good.replace(state.to_str().unwrap(), elsewhere.to_str().unwrap()));
    refused(&mut stand, &["no-bpffs: found ", "expected a BPF file system", "mount -t bpf bpf"]);
    assert!(!elsewhere.exists());
    write_config(&stand, &good);
    std::fs::create_dir(&state).unwrap();
    chown(&state, Some(65534), None).unwrap();
    refused(&mut stand, &["user id 65534", "expected 0", "chown 0 "]);
    chown(&state, Some(0), None).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o770)).unwrap();
    refused(&mut stand, &["mode 0770", "chmod 700"]);
    std::fs::remove_dir(&state).unwrap();
    let other = state.with_file_name("other");
    std::fs::create_dir(&other).unwrap();
    symlink(&other, &state).unwrap();
    refused(&mut stand, &["a symbolic link", "expected a folder"]);
    std::fs::remove_file(&state).unwrap();
    stand.weir.restart(&stand.lab).unwrap();
}

#[test]
fn two_weirs_do_not_share_an_interface_or_a_folder() {
    let mut stand = stand();
    let held = Held::by(stand.weir.pid());
    let pid = stand.weir.pid();
    let folder = stand.lab.state().with_file_name("second");
    let good = keeping(&stand.lab, "");
    let other_socket = good.replace("weir.sock", "other.sock");
    let other_folder = other_socket.replace("/bpf/weir\"", "/bpf/second\"");
    let second = |stand: &Stand, config: &str| {
        let path = stand.lab.dir().join("second.toml");
        std::fs::write(&path, config).unwrap();
        let mut command = std::process::Command::new(weir_binary());
        let said = stand.lab.weir.output(command.args(["run", "--config"]).arg(&path)).unwrap();
        assert_eq!(said.status.code(), Some(1));
        String::from_utf8(said.stderr).unwrap()
    };
    let said = second(&stand, &other_socket);
    assert!(said.contains(&format!("process {pid} has it")), "{said}");
    let said = second(&stand, &other_folder);
    assert!(said.contains(&format!("held by process {pid} (weir)")) && said.contains(FRONT), "{said}");
    assert!(!folder.exists(), "who is refused leaves nothing");
    works(&stand);
    stop(&mut stand);
    // Nobody runs, and the programs are there all the same.
    let said = second(&stand, &other_folder);
    assert!(said.contains("no process holds") && said.contains("weir detach --state"), "{said}");
    kept(&held);
}

#[test]
fn a_start_with_a_bad_interface_leaves_nothing_of_a_fresh_one() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let state = HostState::of(&lab);
    std::fs::create_dir(lab.dir().join("services.d")).unwrap();
    let bad = config(&lab, &[]) + "\n[[interface]]\nname = \"lo\"\nmode = \"native\"\n";
    let mut weir = WeirProcess::start_unready(&lab, &weir_binary(), &bad).unwrap();
    assert_eq!(weir.wait(SOON).unwrap().code(), Some(1), "{}", weir.log());
    assert!(weir.log().contains("lo"), "{}", weir.log());
    state.assert_same(&HostState::of(&lab));
}
