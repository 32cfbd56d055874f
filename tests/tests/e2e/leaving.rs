//! After the end nothing of Weir's is left, whatever ended it but SIGKILL.

use nix::sys::signal::Signal;
use weir_tests::lab::{HttpLoad, Lab, vip_v4, vip_v6, wait_until};

use crate::held::Held;
use crate::host_state::HostState;
use crate::stand::{SOON, Service, Stand};

fn services() -> [Service; 2] {
    [Service::tcp("web", (vip_v4(10), 80).into()), Service::tcp("web6", (vip_v6(10), 80).into())]
}

fn works(stand: &Stand) {
    for vip in [vip_v4(10), vip_v6(10)] {
        let report = HttpLoad::new((vip, 80).into(), 100).run(&stand.lab.clients[0].netns);
        assert_eq!((report.failed(), report.answered()), (0, 100), "{:?}", report.errors);
    }
}

/// Weir works, is ended, and the host is as it was.
fn nothing_is_left(end: impl FnOnce(&mut Stand)) {
    let lab = Lab::builder().build().unwrap();
    let before = HostState::of(&lab);
    let mut stand = Stand::in_lab(lab, &services());
    works(&stand);
    let held = Held::by(stand.weir.pid());
    // Two programs, a link to each of two devices for each, and the maps: otherwise this test sees nothing.
    assert_eq!((held.programs.len(), held.links.len()), (2, 4), "{held:?}");
    assert!(held.maps.len() >= 14 && held.left() == held, "{held:?}");
    assert!(stand.lab.socket().exists());
    end(&mut stand);
    held.await_gone();
    before.assert_same(&HostState::of(&stand.lab));
}

#[test]
fn sigterm_leaves_nothing() {
    nothing_is_left(|stand| assert_eq!(stand.weir.stop().unwrap().code(), Some(0), "{}", stand.weir.log()));
}

#[test]
fn sigint_leaves_nothing() {
    nothing_is_left(|stand| {
        stand.weir.signal(Signal::SIGINT).unwrap();
        assert_eq!(stand.weir.wait(SOON).unwrap().code(), Some(0), "{}", stand.weir.log());
    });
}

#[test]
fn detach_leaves_nothing() {
    nothing_is_left(|stand| {
        let said = stand.weir.cli(&["detach"]).unwrap();
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "detached\n", ""));
        // When it returns the programs are off; the process itself may have moments to go.
        assert!(!stand.lab.socket().exists());
        assert_eq!(stand.weir.wait(SOON).unwrap().code(), Some(0), "{}", stand.weir.log());
        let again = stand.weir.cli(&["detach", "--state", stand.lab.state().to_str().unwrap()]).unwrap();
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(again.stderr.contains("weir.sock"), "{again:?}");
    });
}

/// A stop while connections come and go: those under way finish or fail, none hangs on Weir's remains.
#[test]
fn a_stop_under_load_leaves_nothing() {
    nothing_is_left(|stand| {
        let before = stand.servers[0].connections();
        let client = stand.lab.clients[0].netns.clone();
        let load = HttpLoad { timeout: SOON / 5, ..HttpLoad::new((vip_v4(10), 80).into(), 250) };
        std::thread::scope(|scope| {
            let load = scope.spawn(move || load.run(&client));
            wait_until("the load to begin", SOON, || (stand.servers[0].connections() > before + 20).then_some(()))
                .unwrap();
            assert_eq!(stand.weir.stop().unwrap().code(), Some(0));
            let report = load.join().unwrap();
            assert!(report.answered() > 0 && report.failed() > 0, "{:?}", report.errors);
        });
    });
}
