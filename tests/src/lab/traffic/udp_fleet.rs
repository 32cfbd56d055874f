//! UDP "connections": one socket each, that one backend answers for as long as it speaks.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::answerer::take_apart;
use super::fleet::{Member, Order, Present, pause};
use super::keystream::Keystream;
use super::ledger::{Break, Cause, Traffic};

/// How long an answer may take before the question counts as lost and is sent again.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many questions without an answer, one after another, break a connection.
const TRIES: u32 = 4;
/// Bytes of a question, at least and at most.
const ASK: (u64, u64) = (24, 600);

/// What a connection is, and whom it is with.
struct Connection {
    socket: UdpSocket,
    opened: Instant,
    with: Option<(String, Present)>,
    sequence: u64,
    /// The first of the questions that have had no answer.
    since: Instant,
}

impl Member {
    /// Its connections, one after the other.
    pub(super) async fn live_udp(self, mut orders: watch::Receiver<Order>) {
        let mut choices = self.manners.choices(self.number);
        while *orders.borrow() == Order::Run {
            let mut connection = match open(self.manners.target(self.number)).await {
                Ok(connection) => connection,
                Err(error) => {
                    let now = Instant::now();
                    self.enter(None, (now, now), Cause::NotOpened, error.to_string());
                    tokio::time::sleep(PATIENCE).await;
                    continue;
                }
            };
            if let Err((cause, detail)) = self.udp_connection(&mut connection, &mut choices, &mut orders).await {
                let backend = connection.with.as_ref().map(|(name, _)| name.clone());
                self.enter(backend, (connection.opened, connection.since), cause, detail);
            }
        }
    }

    fn enter(&self, backend: Option<String>, (opened, since): (Instant, Instant), cause: Cause, detail: String) {
        let (traffic, v6, seen) = (Traffic::Udp, self.manners.target(self.number).is_ipv6(), Instant::now());
        self.ledger.enter(Break { traffic, v6, opened, since, seen, backend, cause, detail });
    }

    async fn udp_connection(
        &self,
        connection: &mut Connection,
        choices: &mut Keystream,
        orders: &mut watch::Receiver<Order>,
    ) -> Result<(), (Cause, String)> {
        let ends = self.manners.next_life(self.number, choices).map(|life| Instant::now() + life);
        let mut silent = 0;
        loop {
            let asked = self.question(connection.sequence, choices);
            connection.sequence += 1;
            let sent = Instant::now();
            if silent == 0 {
                connection.since = sent;
            }
            // An ICMP error about an earlier question is reported by either: the answer is missing, which counts.
            let answered = match connection.socket.send(&asked).await {
                Ok(_) => tokio::time::timeout(PATIENCE, self.answer(connection, &asked, sent)).await,
                Err(_) => {
                    tokio::time::sleep(PATIENCE).await;
                    Ok(Ok(false))
                }
            };
            match answered {
                Ok(Ok(true)) => silent = 0,
                Ok(Err(broken)) => return Err(broken),
                Ok(Ok(false)) | Err(_) => {
                    silent += 1;
                    self.roll.lost.fetch_add(1, Ordering::Relaxed);
                    if silent == TRIES {
                        return Err((Cause::Silence, format!("{TRIES} questions without an answer")));
                    }
                    continue;
                }
            }
            let backend = connection.with.as_ref().map_or("", |(name, _)| name.as_str());
            let time = self.manners.next_pause(choices);
            if !pause(time, backend, orders).await || ends.is_some_and(|ends| ends <= Instant::now()) {
                return Ok(());
            }
        }
    }

    /// The member, the sequence, and bytes.
    fn question(&self, sequence: u64, choices: &mut Keystream) -> Vec<u8> {
        let length = usize::try_from(ASK.0 + choices.below(ASK.1 - ASK.0)).expect("a short question");
        let mut asked = vec![0; length];
        choices.apply(&mut asked);
        // Not what a stream's datagrams begin with.
        asked[0] = b'.';
        asked[1..9].copy_from_slice(&(self.number as u64).to_be_bytes());
        asked[9..17].copy_from_slice(&sequence.to_be_bytes());
        asked
    }

    /// Reads until the answer to this question is there: `false` when the socket reports an error instead.
    async fn answer(&self, connection: &mut Connection, asked: &[u8], sent: Instant) -> Result<bool, (Cause, String)> {
        let mut buffer = vec![0; 2_048];
        loop {
            let Ok(length) = connection.socket.recv(&mut buffer).await else {
                tokio::time::sleep(PATIENCE / 4).await;
                return Ok(false);
            };
            let (name, echoed) = take_apart(&buffer[..length]).map_err(|found| (Cause::WrongBytes, found))?;
            match &connection.with {
                Some((with, _)) if with != name => {
                    return Err((Cause::OtherBackend, format!("answered by {name}, not by {with}")));
                }
                Some(_) => {}
                None => connection.with = Some((name.to_owned(), self.roll.present(name))),
            }
            if echoed == asked {
                self.roll.exchanged(length, sent.elapsed());
                return Ok(true);
            }
            // An answer that came too late, to a question that was given up, is passed over.
            if echoed.len() < 17 || echoed[9..17] >= asked[9..17] || echoed[..9] != asked[..9] {
                return Err((Cause::WrongBytes, "an answer to what was not asked".to_owned()));
            }
        }
    }
}

async fn open(target: SocketAddr) -> std::io::Result<Connection> {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    let now = Instant::now();
    Ok(Connection { socket, opened: now, with: None, sequence: 0, since: now })
}
