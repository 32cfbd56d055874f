//! The clients: one thread that opens connections, asks and times the answers.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, recv, send, socket};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::load::{Life, Load, Outcome};
use super::server::ANSWER_LENGTH;

/// Events that are taken at once.
const EVENTS: usize = 256;
/// Requests that may be under way at once at a given rate; those beyond count as failed.
const MOST: usize = 4096;
/// How long the last ones have after the end.
const GRACE: Duration = Duration::from_secs(2);
/// The timer among the events.
const TIMER: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Waiting,
    /// Long ones, between requests.
    Idle,
}

struct Connection {
    socket: OwnedFd,
    state: State,
    due: Instant,
    got: usize,
}

/// All clients of one load.
pub(super) struct Clients<'a> {
    load: &'a Load,
    epoll: Epoll,
    /// By place; the generation tells late events of who was there before.
    places: Vec<(u32, Option<Connection>)>,
    free: Vec<usize>,
    idle: Vec<usize>,
    /// When requests were due for which no long connection was idle.
    late: VecDeque<Instant>,
    next_target: usize,
    under_way: usize,
    ends: Instant,
    outcome: Outcome,
    buffer: Vec<u8>,
}

impl<'a> Clients<'a> {
    pub(super) fn new(load: &'a Load) -> Result<Self> {
        ensure!(!load.targets.is_empty(), "there is nobody to connect to");
        Ok(Self {
            load,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            places: vec![],
            free: vec![],
            idle: vec![],
            late: VecDeque::new(),
            next_target: 0,
            under_way: 0,
            ends: Instant::now(),
            outcome: Outcome::default(),
            buffer: vec![0; if load.life == Life::Bulk { 256 * 1024 } else { 4096 }],
        })
    }

    /// From the first request to the last answer.
    pub(super) fn run(mut self) -> Result<Outcome> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        self.epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let mut events = [EpollEvent::empty(); EVENTS];
        if self.load.life == Life::Long {
            self.open_all(&mut events)?;
        }
        let started = Instant::now();
        self.ends = started + self.load.lasts;
        let interval = self.load.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        match (interval, self.load.life) {
            (Some(interval), _) => timer.set(Expiration::Interval(interval.into()), TimerSetTimeFlags::empty())?,
            (None, Life::Long) => std::mem::take(&mut self.idle).into_iter().for_each(|place| self.ask(place, started)),
            (None, Life::Short | Life::Bulk) => {
                for _ in 0..self.load.connections {
                    self.open(started)?;
                }
            }
        }
        let mut begun = 0_u32;
        loop {
            let now = Instant::now();
            let over = now >= self.ends;
            if (over && (self.under_way == 0 || self.load.life == Life::Bulk)) || now > self.ends + GRACE {
                break;
            }
            let left = (self.ends + if over { GRACE } else { Duration::ZERO }).saturating_duration_since(now);
            for event in self.wait(&mut events, left)? {
                if event.data() != TIMER {
                    self.go_on(*event)?;
                } else if let Some(interval) = interval {
                    timer.wait()?;
                    // Whatever was due meanwhile, each as of when it was.
                    while started + interval * begun <= Instant::now().min(self.ends) {
                        self.begin(started + interval * begun)?;
                        begun += 1;
                    }
                }
            }
        }
        let unanswered = if self.load.life == Life::Bulk { 0 } else { self.under_way + self.late.len() };
        self.outcome.failed += u64::try_from(unanswered)?;
        self.outcome.elapsed = started.elapsed();
        Ok(self.outcome)
    }

    fn wait<'e>(&self, events: &'e mut [EpollEvent], patience: Duration) -> Result<&'e [EpollEvent]> {
        let patience = u16::try_from(patience.as_millis() + 1).unwrap_or(u16::MAX);
        match self.epoll.wait(events, patience) {
            Ok(count) => Ok(&events[..count]),
            Err(Errno::EINTR) => Ok(&[]),
            Err(error) => Err(error).context("waiting for events"),
        }
    }

    /// Opens all long connections, and waits until they are.
    fn open_all(&mut self, events: &mut [EpollEvent]) -> Result<()> {
        let deadline = Instant::now() + GRACE;
        for _ in 0..self.load.connections {
            self.open(deadline)?;
        }
        while self.under_way > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{} of {} connections do not open", self.under_way, self.load.connections);
            for event in self.wait(events, left)? {
                self.go_on(*event)?;
            }
        }
        Ok(())
    }

    /// Begins a request at a given rate.
    fn begin(&mut self, due: Instant) -> Result<()> {
        if self.load.life == Life::Short && self.under_way < MOST {
            return self.open(due);
        }
        match self.idle.pop() {
            Some(place) => self.ask(place, due),
            None if self.load.life == Life::Long => self.late.push_back(due),
            // More than can be answered.
            None => self.outcome.failed += 1,
        }
        Ok(())
    }

    fn open(&mut self, due: Instant) -> Result<()> {
        let target = self.load.targets[self.next_target];
        self.next_target = (self.next_target + 1) % self.load.targets.len();
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("making a socket")?;
        match connect(socket.as_raw_fd(), &SockaddrIn::from(target)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error).with_context(|| format!("connecting to {target}")),
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() - 1
        });
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        let (generation, seat) = &mut self.places[place];
        self.epoll.add(&socket, EpollEvent::new(flags, u64::from(*generation) << 32 | place as u64))?;
        *seat = Some(Connection { socket, state: State::Opening, due, got: 0 });
        self.under_way += 1;
        Ok(())
    }

    /// Sends a request on a long connection that is idle.
    fn ask(&mut self, place: usize, due: Instant) {
        let Some(connection) = &mut self.places[place].1 else { return };
        (connection.due, connection.got, connection.state) = (due, 0, State::Waiting);
        self.under_way += 1;
        if !send_request(connection, self.load.life) {
            self.end(place, false);
        }
    }

    fn go_on(&mut self, event: EpollEvent) -> Result<()> {
        let generation = u32::try_from(event.data() >> 32)?;
        let place = usize::try_from(event.data() & u64::from(u32::MAX))?;
        let Some((known, Some(connection))) = self.places.get_mut(place) else { return Ok(()) };
        if *known != generation {
            return Ok(());
        }
        let flags = event.events();
        if flags.intersects(EpollFlags::EPOLLERR) {
            return self.finish(place, false);
        }
        if connection.state == State::Opening && flags.contains(EpollFlags::EPOLLOUT) {
            if self.load.life == Life::Long {
                // It waits for its turn.
                connection.state = State::Idle;
                self.under_way -= 1;
                self.idle.push(place);
                return Ok(());
            }
            connection.state = State::Waiting;
            if !send_request(connection, self.load.life) {
                return self.finish(place, false);
            }
        }
        if flags.contains(EpollFlags::EPOLLIN) {
            return self.take(place, flags.contains(EpollFlags::EPOLLRDHUP));
        }
        Ok(())
    }

    /// Takes what has come; `ends` when nothing comes after it.
    fn take(&mut self, place: usize, ends: bool) -> Result<()> {
        loop {
            let Some(connection) = &mut self.places[place].1 else { return Ok(()) };
            match recv(connection.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(0) => {
                    let whole = connection.got == ANSWER_LENGTH && self.load.life == Life::Short;
                    return self.finish(place, whole);
                }
                Ok(length) => {
                    connection.got += length;
                    self.outcome.bytes += length as u64;
                    let whole = connection.got == ANSWER_LENGTH;
                    match self.load.life {
                        Life::Long if whole => return self.answered(place),
                        Life::Short if whole && ends => return self.finish(place, true),
                        // A shorter read than asked for has taken everything.
                        _ if length < self.buffer.len() && !ends => return Ok(()),
                        Life::Bulk if Instant::now() >= self.ends => return Ok(()),
                        Life::Short | Life::Long | Life::Bulk => {}
                    }
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(_) => return self.finish(place, false),
            }
        }
    }

    /// A long connection's answer is there.
    fn answered(&mut self, place: usize) -> Result<()> {
        let Some(connection) = &mut self.places[place].1 else { return Ok(()) };
        let now = Instant::now();
        self.outcome.latency.record(now.saturating_duration_since(connection.due));
        self.outcome.answered += 1;
        self.under_way -= 1;
        connection.state = State::Idle;
        if self.load.rate.is_some() {
            match self.late.pop_front() {
                Some(due) => self.ask(place, due),
                None => self.idle.push(place),
            }
        } else if now < self.ends {
            self.ask(place, now);
        }
        Ok(())
    }

    /// A connection ends; another takes its place where that is wanted.
    fn finish(&mut self, place: usize, well: bool) -> Result<()> {
        let now = Instant::now();
        if well && let Some(connection) = &self.places[place].1 {
            self.outcome.latency.record(now.saturating_duration_since(connection.due));
            self.outcome.answered += 1;
        }
        self.end(place, well);
        if self.load.rate.is_none() && now < self.ends {
            self.open(now)?;
        }
        Ok(())
    }

    fn end(&mut self, place: usize, well: bool) {
        let (generation, seat) = &mut self.places[place];
        let Some(connection) = seat.take() else { return };
        *generation = generation.wrapping_add(1);
        self.free.push(place);
        if connection.state == State::Idle {
            self.idle.retain(|idle| *idle != place);
        } else {
            self.under_way -= 1;
        }
        self.outcome.failed += u64::from(!well);
    }
}

fn send_request(connection: &Connection, life: Life) -> bool {
    let request = life.request();
    send(connection.socket.as_raw_fd(), request, MsgFlags::MSG_NOSIGNAL) == Ok(request.len())
}
