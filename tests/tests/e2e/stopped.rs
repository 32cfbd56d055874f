//! The kernel forwards without the controller.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use weir_tests::lab::{HttpLoad, UdpLoad, vip_v4, vip_v6};

use crate::stand::{Service, Stand};

/// How long the controller is stopped.
const STOPPED_FOR: Duration = Duration::from_secs(10);

#[test]
fn traffic_goes_on_while_the_controller_is_stopped() {
    let (web, web6, echo): (SocketAddr, SocketAddr, SocketAddr) =
        ((vip_v4(10), 80).into(), (vip_v6(10), 80).into(), (vip_v4(20), 7).into());
    let services = [Service::tcp("web", web), Service::tcp("web6", web6), Service::udp("echo", echo)];
    let stand = Stand::new(2, 3, &services);
    stand.weir.signal(Signal::SIGSTOP).unwrap();
    let stopped = Instant::now();
    let [one, two] = &stand.lab.clients[..] else { panic!("two clients") };
    // Written while nobody reads.
    stand.registry.publish("web", &services[0].entries(&stand.lab)[..2]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let report = UdpLoad::new(echo, 1_000, STOPPED_FOR).run(&two.netns).unwrap();
            assert_eq!((report.send_errors, report.answered()), (0, 1_000 * STOPPED_FOR.as_secs()), "{report:?}");
        });
        let mut answered = 0;
        while stopped.elapsed() < STOPPED_FOR {
            let report = HttpLoad { targets: vec![web, web6], ..HttpLoad::new(web, 500) }.run(&one.netns);
            assert_eq!((report.failed(), report.answers.len()), (0, 3), "{:?}", report.errors);
            answered += report.answered();
        }
        println!("{answered} requests answered while the controller was stopped for {:?}", stopped.elapsed());
    });
    let state = std::fs::read_to_string(format!("/proc/{}/stat", stand.weir.pid())).unwrap();
    assert!(state.contains(") T "), "it was stopped all the time: {state}");

    stand.weir.signal(Signal::SIGCONT).unwrap();
    stand.await_backends("web", "the edit made meanwhile", |rows| {
        rows.iter().all(|row| (row.slots == 0) == (row.id == "b3"))
    });
    let report = HttpLoad::new(web, 200).run(&one.netns);
    assert_eq!((report.failed(), report.answers.len()), (0, 2), "{report:?}");
}
