//! One connection that is spoken on again and again, while everything around it changes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use weir_tests::lab::Netns;

use crate::stand::SOON;

/// A connection to a server of the lab's, kept open.
pub(crate) struct Conversation {
    stream: TcpStream,
}

impl Conversation {
    pub(crate) fn begin(client: &Netns, server: SocketAddr) -> Self {
        let stream = client.run(|| TcpStream::connect_timeout(&server, SOON)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream }
    }

    /// Asks once more; says who answers.
    pub(crate) fn ask(&mut self) -> String {
        self.stream.write_all(b"GET / HTTP/1.1\r\nhost: weir\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 1024];
        loop {
            let read = self.stream.read(&mut chunk).unwrap_or_else(|error| panic!("the connection broke: {error}"));
            assert!(read > 0, "the server closed the connection");
            answer.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let name = head.lines().find_map(|line| line.strip_prefix("x-backend: ")).expect("who it is");
                if body == name {
                    return name.to_owned();
                }
            }
        }
    }
}
