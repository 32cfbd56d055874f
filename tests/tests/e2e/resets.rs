//! Connections that a drain cuts off: both ends are told, so that neither waits for the other.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weir::api::types::DrainRow;
use weir_tests::lab::traffic::ANSWER_PORT;
use weir_tests::lab::{vip_v4, vip_v6};

use crate::stand::{SOON, Service, Stand};

/// The two ends of a connection.
struct Ends {
    client: TcpStream,
    server: TcpStream,
}

impl Ends {
    /// Sends a byte there and another one back.
    fn speak(&mut self) {
        let mut byte = [0];
        self.client.write_all(b"?").unwrap();
        self.server.read_exact(&mut byte).unwrap();
        self.server.write_all(b"!").unwrap();
        self.client.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"!");
    }
}

/// A listener on every backend, which is never asked for more than is there.
fn listeners(stand: &Stand) -> Vec<TcpListener> {
    let listen = || TcpListener::bind(("::", ANSWER_PORT)).unwrap();
    let listeners: Vec<TcpListener> = stand.lab.backends.iter().map(|backend| backend.netns.run(listen)).collect();
    listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
    listeners
}

/// A connection, and the number of its backend.
fn connect(stand: &Stand, listeners: &[TcpListener], vip: SocketAddr) -> (usize, Ends) {
    let client = stand.lab.clients[0].netns.run(|| TcpStream::connect_timeout(&vip, SOON)).unwrap();
    let mut accepted = None;
    weir_tests::lab::wait_until("a backend to accept", SOON, || {
        accepted = listeners.iter().enumerate().find_map(|(number, one)| Some((number, one.accept().ok()?.0)));
        accepted.as_ref().map(drop)
    })
    .unwrap();
    let (number, server) = accepted.unwrap();
    server.set_nonblocking(false).unwrap();
    for end in [&client, &server] {
        end.set_read_timeout(Some(2 * SOON)).unwrap();
    }
    let mut ends = Ends { client, server };
    ends.speak();
    (number, ends)
}

/// Connections with a backend, and those with the others, over both families.
fn connections(stand: &Stand, listeners: &[TcpListener], vips: &[SocketAddr]) -> (Vec<Ends>, Vec<Ends>) {
    let (mut mine, mut others) = (vec![], vec![]);
    for vip in vips {
        let (enough_mine, enough_others) = (mine.len() + 3, others.len() + 3);
        while mine.len() < enough_mine || others.len() < enough_others {
            match connect(stand, listeners, *vip) {
                (0, ends) => mine.push(ends),
                (_, ends) => others.push(ends),
            }
        }
    }
    (mine, others)
}

fn stand() -> (Stand, [SocketAddr; 2]) {
    let vips: [SocketAddr; 2] = [(vip_v4(10), 80).into(), (vip_v6(10), 80).into()];
    let service = |(name, vip)| Service::tcp(name, vip).at(ANSWER_PORT);
    let services = [("web", vips[0]), ("web6", vips[1])].map(service);
    (Stand::new(1, 2, &services), vips)
}

/// What an end that waits for bytes is told.
fn told(end: &mut TcpStream) -> Option<ErrorKind> {
    end.read(&mut [0]).err().map(|error| error.kind())
}

#[test]
fn both_ends_of_what_is_left_are_reset_at_the_deadline() {
    let (stand, vips) = stand();
    let listeners = listeners(&stand);
    let (mut mine, mut others) = connections(&stand, &listeners, &vips);
    let ordered: Vec<DrainRow> = stand.rows(&["drain", "b1", "--deadline", "3s", "--then", "reset"]);
    assert_eq!(ordered.len(), 2);
    // They are known from when they speak; then all are idle, and nothing but a reset would wake them.
    mine.iter_mut().for_each(Ends::speak);
    for Ends { client, server } in &mut mine {
        assert_eq!(told(client), Some(ErrorKind::ConnectionReset), "{}", stand.weir.log());
        assert_eq!(told(server), Some(ErrorKind::ConnectionReset), "{}", stand.weir.log());
    }
    let rows = stand.drains(None);
    assert!(rows.len() == 2 && rows.iter().all(|row| row.state == "removed"), "{rows:#?}");
    others.iter_mut().for_each(Ends::speak);
}

/// Nothing is left that could be reset.
#[test]
fn a_drain_that_ends_by_itself_resets_nothing() {
    let (stand, vips) = stand();
    let listeners = listeners(&stand);
    let (mut mine, mut others) = connections(&stand, &listeners, &vips);
    let rows: Vec<DrainRow> = stand.rows(&["drain", "b1", "--deadline", "1h", "--then", "reset"]);
    assert!(rows.iter().all(|row| row.state == "draining"), "{rows:#?}");
    mine.iter_mut().for_each(Ends::speak);
    for Ends { mut client, mut server } in mine {
        drop(client.shutdown(std::net::Shutdown::Write));
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    others.iter_mut().for_each(Ends::speak);
    let (_, mut new) = connect(&stand, &listeners, vips[0]);
    new.speak();
    new.client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(told(&mut new.client), Some(ErrorKind::WouldBlock));
}
