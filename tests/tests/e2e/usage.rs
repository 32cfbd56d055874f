//! Bad input at the command line: one message that says where, what and what instead, and nothing half applied.

use std::process::Command;

use weir_tests::lab::{CliOutput, FRONT, FileRegistry, HttpLoad, Lab, vip_v4, weir_binary};

use crate::held::Held;
use crate::host_state::HostState;
use crate::stand::{Service, Stand, config};

fn web() -> Service {
    Service::tcp("web", (vip_v4(10), 80).into())
}

/// Runs a command of Weir's host to its end, which must come soon.
fn run(lab: &Lab, words: &[&str]) -> CliOutput {
    let mut command = Command::new("timeout");
    // Whoever still runs is ended as `weir run` wants it, and the exit code is 124.
    command.args(["--signal=TERM", "10"]).args(words);
    let output = lab.weir.output(&mut command).unwrap();
    CliOutput {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `BEFORE… weir run` with this configuration is refused with 1, says all this, and changes nothing.
fn refused(lab: &Lab, before: &[&str], config: &str, says: &[&str]) {
    let (binary, path) = (weir_binary(), lab.dir().join("weir.toml"));
    std::fs::write(&path, config).unwrap();
    let state = HostState::of(lab);
    let command = ["run", "--config", path.to_str().unwrap()];
    let said = run(lab, &[before, &[binary.to_str().unwrap()], &command].concat());
    assert_eq!(said.code, Some(1), "{says:?}: {said:?}");
    for part in says {
        assert!(said.stderr.contains(part), "{part:?} is not said: {said:?}");
    }
    assert!(!said.stderr.contains("panicked"), "{said:?}");
    state.assert_same(&HostState::of(lab));
}

/// A configuration with one word of it replaced, and the line on which it is.
fn with(lab: &Lab, from: &str, to: &str) -> (String, String) {
    let good = config(lab, &[web()]);
    assert_eq!(good.matches(from).count(), 1, "{from:?} in {good}");
    let line = good[..good.find(from).unwrap()].lines().count()
        + usize::from(good[..good.find(from).unwrap()].ends_with('\n'));
    (good.replace(from, to), format!("weir.toml:{line}: "))
}

#[test]
fn a_bad_configuration_is_refused_by_file_line_and_key() {
    let lab = Lab::builder().build().unwrap();
    let registry = FileRegistry::new(&lab).unwrap();
    registry.publish("web", &web().entries(&lab)).unwrap();
    for (from, to, says) in [
        ("protocol = ", "protcol = ", &["protcol", "did you mean", "protocol"][..]),
        ("vip = \"", "vpi = \"", &["vpi", "expected", "vip"]),
        ("port = 80", "port = 70000", &["port", "70000", "0 to 65535"]),
        ("registry = \"local\"", "registry = \"lokal\"", &["registry", "lokal", "local"]),
        ("name = \"front\"", "name = \"fornt\"", &["interface", "fornt", "front"]),
        ("[weir]\n", "[weir]\non_exit = \"stay\"\n", &["on_exit", "stay", "detach or keep"]),
    ] {
        let (bad, mut line) = with(&lab, from, to);
        if to.contains("on_exit") {
            line = "weir.toml:2: ".to_owned();
        }
        refused(&lab, &[], &bad, &[&[line.as_str()], says].concat());
    }
    let twice = config(&lab, &[web(), Service::tcp("again", (vip_v4(10), 80).into())]);
    refused(&lab, &[], &twice, &["weir.toml:", "service.again.vip", "203.0.113.10:80", "\"web\" on line"]);
    refused(&lab, &[], "[weir\n", &["weir.toml:1"]);
}

#[test]
fn without_privileges_nothing_is_begun() {
    let lab = Lab::builder().build().unwrap();
    let registry = FileRegistry::new(&lab).unwrap();
    registry.publish("web", &web().entries(&lab)).unwrap();
    // Still the owner of its files, but without a single capability.
    let without = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"];
    refused(&lab, &without, &config(&lab, &[web()]), &["privileges"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    let lab = Lab::builder().backends(0).build().unwrap();
    let binary = weir_binary();
    let weir = binary.to_str().unwrap();
    for words in [&["run"][..], &["fly"], &[], &["status", "--wait-ready", "soon"], &["services", "-o", "yaml"]] {
        let said = run(&lab, &[&[weir], words].concat());
        assert_eq!(said.code, Some(2), "{words:?}: {said:?}");
        assert!(said.stderr.contains("--help") || said.stderr.contains("Usage"), "{words:?}: {said:?}");
    }
    for words in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert_eq!(run(&lab, &[&[weir], words].concat()).code, Some(0), "{words:?}");
    }
    let missing = run(&lab, &[weir, "run", "--config", "/nowhere/weir.toml"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("/nowhere/weir.toml"), "{missing:?}");
    let nobody = run(&lab, &[weir, "status", "--socket", "/nowhere/weir.sock"]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("/nowhere/weir.sock"), "{nobody:?}");
}

#[test]
fn a_second_weir_harms_nothing_of_the_first() {
    let stand = Stand::new(1, 2, &[web()]);
    let pid = stand.weir.pid().to_string();
    let first = Held::by(stand.weir.pid());
    let works = || {
        let report = HttpLoad::new((vip_v4(10), 80).into(), 200).run(&stand.lab.clients[0].netns);
        assert_eq!((report.failed(), report.answered()), (0, 200), "{:?}", report.errors);
    };
    let same = config(&stand.lab, &[web()]);
    refused(&stand.lab, &[], &same, &["socket", &format!("process {pid}"), "weir.sock"]);
    works();
    // With a socket and a folder of its own it gets as far as the devices, which have a program.
    let other = same.replace("weir.sock", "other.sock").replace("/bpf/weir\"", "/bpf/other\"");
    refused(&stand.lab, &[], &other, &[FRONT, "another XDP program", &format!("process {pid}")]);
    assert!(!stand.lab.dir().join("other.sock").exists());
    works();
    assert_eq!((Held::by(stand.weir.pid()), first.left()), (first.clone(), first));
    assert_eq!(stand.status().pid.to_string(), pid);
}

#[test]
fn a_malformed_registry_file_at_the_start_is_refused_by_file_line_and_key() {
    let lab = Lab::builder().backends(1).build().unwrap();
    let registry = FileRegistry::new(&lab).unwrap();
    registry.publish("web", &web().entries(&lab)).unwrap();
    let path = registry.dir().join("web.toml");
    let bad = std::fs::read_to_string(&path).unwrap().replace("weight = 100", "weight = -1");
    registry.write("web.toml", &bad).unwrap();
    let says = "web.toml:7: backend.b1.weight: found -1, expected an integer from 0 to 65535";
    refused(&lab, &[], &config(&lab, &[web()]), &[says]);
    let config = lab.dir().join("weir.toml");
    let check = [weir_binary().to_str().unwrap().to_owned(), "check".into(), "--config".into()];
    let check: Vec<&str> = check.iter().map(String::as_str).chain(config.to_str()).collect();
    let said = run(&lab, &check);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains(says), "{said:?}");
}
