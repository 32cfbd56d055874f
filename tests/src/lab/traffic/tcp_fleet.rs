//! Long-lived TCP connections that exchange bytes now and then, each byte checked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::answerer::{LONG, key_of};
use super::fleet::{Member, Order, pause};
use super::keystream::Keystream;
use super::ledger::{Break, Cause, Traffic};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between a connection that broke and the next try.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Bytes of most questions, at least and at most.
const ASK: (u64, u64) = (16, 1_000);
/// One question in so many is of several segments, of this many bytes.
const LARGE_ONE_IN: u64 = 64;
const LARGE: u64 = 12_000;

/// Why a connection ended too early.
struct Failure {
    since: Instant,
    cause: Cause,
    detail: String,
}

impl Member {
    /// Its connections, one after the other.
    pub(super) async fn live_tcp(self, mut orders: watch::Receiver<Order>) {
        let mut choices = self.manners.choices(self.number);
        while *orders.borrow() == Order::Run {
            let (opened, mut backend) = (Instant::now(), None);
            let Err(failure) = self.tcp_connection(&mut choices, &mut orders, &mut backend).await else { continue };
            let Failure { since, cause, detail } = failure;
            let (traffic, v6, seen) = (Traffic::LongTcp, self.target().is_ipv6(), Instant::now());
            self.ledger.enter(Break { traffic, v6, opened, since, seen, backend, cause, detail });
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    fn target(&self) -> SocketAddr {
        self.manners.target(self.number)
    }

    /// One connection from its opening to its close in good order.
    async fn tcp_connection(
        &self,
        choices: &mut Keystream,
        orders: &mut watch::Receiver<Order>,
        backend: &mut Option<String>,
    ) -> Result<(), Failure> {
        let ends = self.manners.next_life(self.number, choices).map(|life| Instant::now() + life);
        let since = Instant::now();
        let not_opened = |detail| Failure { since, cause: Cause::NotOpened, detail };
        let opening = within(since, TcpStream::connect(self.target())).await;
        let mut stream = opening.map_err(|failure| not_opened(failure.detail))?;
        stream.set_nodelay(true).map_err(|error| not_opened(error.to_string()))?;

        let first = question(choices);
        let begin = [&[LONG], &first[..]].concat();
        let greeted = within(since, async {
            stream.write_all(&begin).await?;
            let length = stream.read_u8().await?;
            let mut name = vec![0; usize::from(length)];
            stream.read_exact(&mut name).await?;
            Ok(name)
        });
        let name = String::from_utf8_lossy(&greeted.await?).into_owned();
        *backend = Some(name.clone());
        let mut keys = Keystream::new(key_of(&name));
        let _present = self.roll.present(&name);
        self.check(&mut stream, first, &mut keys, since).await?;
        loop {
            let time = self.manners.next_pause(choices);
            if !pause(time, &name, orders).await || ends.is_some_and(|ends| ends <= Instant::now()) {
                return close(stream).await;
            }
            let (asked, since) = (question(choices), Instant::now());
            within(since, stream.write_all(&asked)).await?;
            self.check(&mut stream, asked, &mut keys, since).await?;
        }
    }

    /// Reads the answer to a question and compares every byte.
    async fn check(
        &self,
        stream: &mut TcpStream,
        mut expected: Vec<u8>,
        keys: &mut Keystream,
        since: Instant,
    ) -> Result<(), Failure> {
        let mut answer = vec![0; expected.len()];
        within(since, stream.read_exact(&mut answer)).await?;
        keys.apply(&mut expected);
        if let Some(at) = (0..answer.len()).find(|at| answer[*at] != expected[*at]) {
            let detail = format!("byte {at} of {} is {:02x}, not {:02x}", answer.len(), answer[at], expected[at]);
            return Err(Failure { since, cause: Cause::WrongBytes, detail });
        }
        self.roll.exchanged(answer.len(), since.elapsed());
        Ok(())
    }
}

/// Says that nothing more comes, and waits for the other end to say it too.
async fn close(mut stream: TcpStream) -> Result<(), Failure> {
    let since = Instant::now();
    let rest = within(since, async {
        stream.shutdown().await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        Ok(rest)
    });
    match rest.await?.len() {
        0 => Ok(()),
        more => Err(Failure { since, cause: Cause::WrongBytes, detail: format!("{more} bytes that nobody asked for") }),
    }
}

fn question(choices: &mut Keystream) -> Vec<u8> {
    let length = if choices.below(LARGE_ONE_IN) == 0 { LARGE } else { ASK.0 + choices.below(ASK.1 - ASK.0) };
    let mut bytes = vec![0; usize::try_from(length).expect("a short question")];
    choices.apply(&mut bytes);
    bytes
}

async fn within<T>(since: Instant, work: impl Future<Output = std::io::Result<T>>) -> Result<T, Failure> {
    let failure = |cause, detail| Err(Failure { since, cause, detail });
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            failure(Cause::Closed, "the other end closed".to_owned())
        }
        Ok(Err(error)) => failure(Cause::Reset, error.to_string()),
        Err(_) => failure(Cause::Silence, format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
