//! Limits of connections; who presses, and limits that a person sets while traffic goes on.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use weir::api::types::{LimitRow, TopRow};
use weir_tests::lab::{UdpLoad, vip_v4, wait_until};

use crate::stand::{SOON, Service, Stand};

fn connect(stand: &Stand, client: usize, target: SocketAddr) -> Option<TcpStream> {
    stand.lab.clients[client].netns.run(|| TcpStream::connect_timeout(&target, SOON / 5)).ok()
}

fn only(stand: &Stand) -> LimitRow {
    let [row] = stand.limits().try_into().expect("one limit");
    row
}

#[test]
fn a_source_has_as_many_connections_as_it_may_and_each_that_ends_makes_room() {
    let target: SocketAddr = (vip_v4(40), 80).into();
    let limit = "limit = { per = \"source\", rate = 3, unit = \"connections\" }";
    let stand = Stand::new(2, 2, &[Service::tcp("web", target).with(limit)]);
    let mut open: Vec<TcpStream> = (0..3).map(|_| connect(&stand, 0, target).expect("within the limit")).collect();
    assert!(connect(&stand, 0, target).is_none(), "a fourth was let in");
    assert!(connect(&stand, 1, target).is_some(), "another source is not touched");
    let row = only(&stand);
    assert_eq!(row.admitted, 4, "{row:?}");
    assert!(row.over >= 1 && stand.refused("over_source_limit") == row.over, "{row:?}");
    open.pop();
    open.push(wait_until("room for another", SOON, || connect(&stand, 0, target)).unwrap());
    assert!(connect(&stand, 0, target).is_none(), "a fourth was let in");
}

#[test]
fn connections_that_are_silent_make_room() {
    let target: SocketAddr = (vip_v4(41), 80).into();
    let limit = "idle = \"2s\"\nlimit = { per = \"service\", rate = 2, unit = \"connections\" }";
    let stand = Stand::new(1, 1, &[Service::tcp("web", target).with(limit)]);
    let _open = [0, 1].map(|_| connect(&stand, 0, target).expect("within the limit"));
    assert!(connect(&stand, 0, target).is_none(), "a third was let in");
    wait_until("room for another", 2 * SOON, || connect(&stand, 0, target)).unwrap();
}

#[test]
fn who_presses_is_named_and_a_limit_set_by_hand_holds_at_once() {
    let target: SocketAddr = (vip_v4(42), 7).into();
    let limit = "limit = { per = \"source\", rate = 100, unit = \"packets/s\", burst = 10 }";
    let stand = Stand::new(2, 2, &[Service::udp("echo", target).with(limit)]);
    let load = |client: usize, rate| {
        let netns = &stand.lab.clients[client].netns;
        UdpLoad::new(target, rate, Duration::from_secs(12)).run(netns).unwrap()
    };
    std::thread::scope(|scope| {
        let loads = [scope.spawn(|| load(0, 2_000)), scope.spawn(|| load(1, 50))];
        wait_until("a limit that presses", SOON, || (only(&stand).over > 100).then_some(())).unwrap();
        let top: Vec<TopRow> = stand.rows(&["limits", "top", "echo", "--seconds", "2"]);
        let [greedy, modest] = &top[..] else { panic!("{top:?}") };
        let address = |client: usize| stand.lab.clients[client].v4.to_string();
        assert_eq!([&greedy.source, &modest.source], [&address(0), &address(1)]);
        assert!(greedy.asked_per_s > 10.0 * modest.asked_per_s && greedy.over_per_s > 0.0, "{top:?}");
        assert_eq!(modest.over_per_s, 0.0, "{top:?}");
        let set: Vec<LimitRow> =
            stand.rows(&["limits", "set", "echo", "--rate", "100000 packets/s", "--burst", "1000"]);
        assert_eq!((set[0].rate, set[0].burst), (100_000, Some(1_000)));
        let before = only(&stand);
        let after = wait_until("packets that were admitted", SOON, || {
            Some(only(&stand)).filter(|row| row.admitted > before.admitted + 1_000)
        });
        assert_eq!(after.unwrap().over, before.over, "nobody is over the new limit");
        let unset: Vec<LimitRow> = stand.rows(&["limits", "unset", "echo"]);
        assert_eq!((unset[0].rate, unset[0].burst), (100, Some(10)));
        wait_until("a limit that presses again", SOON, || (only(&stand).over > before.over + 100).then_some(()))
            .unwrap();
        for load in loads {
            load.join().unwrap();
        }
    });
}
