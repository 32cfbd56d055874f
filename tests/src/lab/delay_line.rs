//! A cable of the switch's that is as long as the way to a host far away.
//!
//! ```text
//!   client │ net0 ── c1 │ ⟶ later ⟶ │ c1-line ── c1-port (bridge)
//! ```
//!
//! Not every kernel that tests run on can delay packets (`CONFIG_NET_SCH_NETEM`). So two threads carry every frame from one
//! device to another, each by a packet socket, and hold it for as long as the way takes. The kernel knows nothing of the
//! delay: unlike with a queue, nothing tells a sender's TCP how much of what it sent is still under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;

use super::frames::{FrameSocket, LONGEST};
use super::netns::Netns;
use super::traffic::raise_priority;
use super::wait::wait_until;
use super::worker::Worker;

/// How many frames may be under way, each way: at 10 ms, those of 400,000 a second. More are lost, and counted.
const MOST_UNDER_WAY: usize = 4_096;
/// What the kernel may hold of frames while a thread waits for a processor, in bytes of its memory.
const ROOM: usize = 16 << 20;
/// How many frames are taken at once before those that are due are sent.
const AT_ONCE: usize = 64;
/// How often a thread looks whether it is to stop.
const TICK: Duration = Duration::from_millis(20);
/// How long a device whose queue is full is left alone, and how often it is tried.
const FULL: Duration = Duration::from_micros(50);
const TRIES: u32 = 100;
/// How long the new link has to come up.
const UP_WITHIN: Duration = Duration::from_secs(10);

/// A port of the switch whose cable is long, for as long as this lives; nothing passes afterwards.
#[derive(Debug)]
pub struct DelayLine {
    lost: Arc<AtomicU64>,
    carried: Arc<AtomicU64>,
    workers: Vec<Worker>,
}

impl DelayLine {
    /// Makes the cable to a port of a bridge of the switch's longer: what goes over it, either way, arrives this much later.
    pub fn on(switch: &Netns, port: &str, delay: Duration) -> Result<Self> {
        let (line, far) = (format!("{port}-line"), format!("{port}-port"));
        let text = switch.ip(&format!("-json link show dev {port}"))?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        let bridge = links[0]["master"].as_str().with_context(|| format!("{port} is no bridge's port: {text}"))?;
        switch.ip_batch(&format!(
            "link add name {line} type veth peer name {far}\nlink set dev {port} nomaster\n\
             link set dev {far} master {bridge} up\nlink set dev {line} up\n"
        ))?;
        for device in [port, &line, &far] {
            // Frames as they are on the wire: whole, with finished checksums, and no longer than the MTU.
            switch.command("ethtool", &["-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off"])?;
        }
        wait_until("the delay line's link to be up", UP_WITHIN, || {
            let text = switch.ip(&format!("-json link show dev {far}")).ok()?;
            text.contains("\"operstate\":\"UP\"").then_some(())
        })?;
        let open = |device: &str| -> Result<Arc<FrameSocket>> {
            let socket = FrameSocket::open(switch, device)?;
            socket.make_room(ROOM)?;
            Ok(Arc::new(socket))
        };
        let (near, far) = (open(port)?, open(&line)?);
        let mut this = Self { lost: Arc::default(), carried: Arc::default(), workers: vec![] };
        for (from, to) in [(&near, &far), (&far, &near)] {
            let way = Way {
                from: Arc::clone(from),
                to: Arc::clone(to),
                delay,
                lost: Arc::clone(&this.lost),
                carried: Arc::clone(&this.carried),
                under_way: VecDeque::new(),
            };
            let worker = Worker::start("delay line", move |stop| {
                raise_priority();
                if let Err(error) = way.run(stop) {
                    panic!("a delay line ends: {error:#}");
                }
            })?;
            this.workers.push(worker);
        }
        Ok(this)
    }

    /// How many frames were carried so far, both ways.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// How many frames the line itself lost so far, both ways: too many were under way, it came too late to the kernel's
    /// buffer, or a device did not take them. What a network would lose is lost elsewhere.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// One direction.
struct Way {
    from: Arc<FrameSocket>,
    to: Arc<FrameSocket>,
    delay: Duration,
    lost: Arc<AtomicU64>,
    carried: Arc<AtomicU64>,
    /// Frames, and when each is to arrive.
    under_way: VecDeque<(Instant, Vec<u8>)>,
}

impl Way {
    fn run(mut self, stop: &AtomicBool) -> Result<()> {
        let mut buffer = vec![0; LONGEST];
        let mut asked = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            while let Some((_, frame)) = self.under_way.pop_front_if(|(due, _)| *due <= now) {
                self.deliver(&frame)?;
            }
            let next = self.under_way.front().map_or(TICK, |(due, _)| due.saturating_duration_since(Instant::now()));
            if self.from.wait(next.min(TICK))? {
                self.take(&mut buffer)?;
            }
            if asked.elapsed() >= TICK {
                asked = Instant::now();
                self.lost.fetch_add(self.from.missed()?, Ordering::Relaxed);
            }
        }
        self.lost.fetch_add(self.from.missed()?, Ordering::Relaxed);
        Ok(())
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<()> {
        let due = Instant::now() + self.delay;
        for _ in 0..AT_ONCE {
            let Some(frame) = self.from.take(buffer)? else { break };
            if self.under_way.len() < MOST_UNDER_WAY {
                self.under_way.push_back((due, frame));
            } else {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn deliver(&self, frame: &[u8]) -> Result<()> {
        for _ in 0..TRIES {
            match self.to.send(frame) {
                Ok(()) => {
                    self.carried.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if error.downcast_ref() == Some(&Errno::ENOBUFS) => std::thread::sleep(FULL),
                // The other end goes down before this one does.
                Err(error) if error.downcast_ref() == Some(&Errno::ENETDOWN) => break,
                Err(error) => return Err(error),
            }
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
