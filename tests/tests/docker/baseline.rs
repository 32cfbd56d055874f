//! The lab itself, without Weir: an engine like any other, with its firewall, and nothing left when it goes.

use std::process::Command;

use weir_tests::lab::docker::Run;
use weir_tests::lab::{HTTP_PORT, wait_until};

use crate::stage::{Host, NETWORK, SOON, requests};

#[test]
fn the_engine_is_a_real_one_and_leaves_nothing() {
    let host = Host::new();
    let engine = &host.engine;
    for program in ["iptables", "ip6tables"] {
        let rules = engine.netns().command(program, &["-S"]).unwrap();
        assert!(rules.contains("-P FORWARD DROP") && rules.contains("DOCKER-ISOLATION-STAGE-1"), "{program}: {rules}");
    }
    let web = host.run_on(NETWORK, Run::new("web-1").publish("8081:8080"));
    assert_eq!(web.get("http://127.0.0.1:8080/", 2).unwrap(), ["web-1", "web-1"]);
    let near = host.run_on("bridge", Run::new("near"));
    // What is published is let in at its own address too; what is not is not.
    let hidden = host.run_on(NETWORK, Run::new("hidden"));
    for address in hidden.addresses(NETWORK).unwrap() {
        // The host reaches it; the firewall keeps out who is beyond the NIC, and other networks.
        assert_eq!(requests(&host.lab.weir, (address, HTTP_PORT).into(), 4).answered(), 4);
        assert_eq!(requests(host.client(), (address, HTTP_PORT).into(), 1).answered(), 0);
        near.exec(&[
            "lab-server",
            "get",
            &format!("http://{}/", std::net::SocketAddr::new(address, HTTP_PORT)),
            "--timeout-ms",
            "500",
        ])
        .unwrap_err();
    }
    // Its own way in is open.
    assert_eq!(requests(host.client(), (weir_tests::lab::WEIR_FRONT_V4, 8081).into(), 20).answered(), 20);

    // It lives on when its engine dies, and is found again.
    engine.kill().unwrap();
    assert_eq!(requests(host.client(), (weir_tests::lab::WEIR_FRONT_V4, 8081).into(), 20).answered(), 20);
    engine.restart(&host.lab).unwrap();
    assert_eq!(web.inspect().unwrap()["State"]["Running"], true);
    near.pause().unwrap();

    // A graceful server: SIGTERM, one more second of service, and an end before the grace's.
    let id = host.lab.dir().file_name().unwrap().to_str().unwrap().to_owned();
    let namespace = host.lab.weir.name().to_owned();
    let dir = host.lab.dir().to_owned();
    drop((web, near, hidden));
    drop(host);
    assert!(!dir.exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&id), "{mounts}");
    wait_until("the last process to be gone", SOON, || {
        let shown = Command::new("ps").args(["axww", "-o", "pid,cgroup,args"]).output().unwrap();
        (!String::from_utf8_lossy(&shown.stdout).contains(&id)).then_some(())
    })
    .unwrap();
    assert!(!std::path::Path::new("/run/netns").join(namespace).exists());
}
