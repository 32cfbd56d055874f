//! Many bytes there and back on one connection, compared one by one.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use weir_tests::lab::{Netns, Task};

/// Where [`serve`] listens.
pub(crate) const BULK_PORT: u16 = 7000;

/// A server that sends back whatever it gets, on IPv4 and IPv6.
pub(crate) fn serve(netns: &Netns) -> Task {
    let listener = netns.run(|| std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, BULK_PORT))).unwrap();
    listener.set_nonblocking(true).unwrap();
    netns.spawn("bulk", move || async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                let (mut from, mut to) = stream.split();
                // A connection that broke is noticed by the client.
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    })
}

/// Sends so many bytes, reads them back meanwhile, and panics unless all came back as they went.
pub(crate) fn exchange(netns: &Netns, server: SocketAddr, bytes: usize, deadline: Duration) {
    let stream = netns.run(|| TcpStream::connect_timeout(&server, deadline)).unwrap();
    stream.set_read_timeout(Some(deadline)).unwrap();
    stream.set_write_timeout(Some(deadline)).unwrap();
    let sent: Vec<u8> =
        (0..bytes as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let mut received = Vec::with_capacity(bytes);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        (&stream).read_to_end(&mut received).unwrap();
    });
    assert_eq!(received.len(), sent.len());
    let wrong = received.iter().zip(&sent).position(|(received, sent)| received != sent);
    assert_eq!(wrong, None, "the first byte that is not as it was sent");
}
