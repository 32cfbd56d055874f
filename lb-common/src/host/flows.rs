//! The table of flows in memory that this process shares: with threads, or with programs in the kernel.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::abi::{Flow, FlowGroup, FlowKey, FlowLine};
use crate::flow_table::{self, FlowHash, Group, Line, given_back, is_left, is_taken};
use crate::tables::FlowCell;

/// Where in a line its key and its flow are, in words.
const KEY: usize = 1;
const FLOW: usize = KEY + 3;

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct SharedLine<'a>(&'a [AtomicU64]);

/// A group of lines.
struct SharedGroup<'a>(&'a [AtomicU64]);

/// A table of flows that others change at the same time.
#[derive(Debug, Clone, Copy)]
pub struct SharedFlows<'a> {
    words: &'a [AtomicU64],
    hash: FlowHash,
}

impl SharedLine<'_> {
    fn words(&self, first: usize) -> [u64; 3] {
        [0, 1, 2].map(|word| self.0[first + word].load(Ordering::Relaxed))
    }

    fn write_words(&self, first: usize, words: [u64; 3]) {
        for (to, word) in self.0[first..].iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
    }

    /// Its flow, if it has one.
    fn entry(&self) -> Option<(FlowKey, Flow)> {
        let state = self.state();
        if !is_taken(state) {
            return None;
        }
        let entry = (FlowKey::from_words(self.words(KEY)), self.read());
        fence(Ordering::Acquire);
        // Another controller may be at it: one that begins, while this one ends.
        (self.0[0].load(Ordering::Relaxed) == state).then_some(entry)
    }
}

impl Line for SharedLine<'_> {
    fn state(&self) -> u64 {
        self.0[0].load(Ordering::Acquire)
    }

    fn exchange(&self, expected: u64, new: u64) -> u64 {
        match self.0[0].compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(found) | Err(found) => found,
        }
    }

    fn has(&self, key: &[u64; 3]) -> bool {
        self.words(KEY) == *key
    }

    fn backend(&self) -> u32 {
        self.read().backend
    }

    fn write(&self, key: &[u64; 3], flow: &Flow) {
        self.write_words(KEY, *key);
        self.write_words(FLOW, flow.to_words());
    }
}

impl<'a> Group for SharedGroup<'a> {
    type Line = SharedLine<'a>;

    fn line(&self, number: u32) -> SharedLine<'a> {
        let first = number as usize * FlowLine::WORDS;
        SharedLine(&self.0[first..first + FlowLine::WORDS])
    }
}

impl FlowCell for SharedLine<'_> {
    fn read(&self) -> Flow {
        Flow::from_words(self.words(FLOW))
    }

    fn note_client(&self, seen_s: u32, flags: u32, next: u32, expects: u32) {
        let noted = Flow { seen_s, client: flags, client_next: next, client_expects: expects, ..self.read() };
        self.write_words(FLOW, noted.to_words());
    }

    fn note_server(&self, seen_s: u32, flags: u32) {
        self.write_words(FLOW, Flow { seen_s, server: flags, ..self.read() }.to_words());
    }

    fn begin(&self, flow: Flow) {
        self.write_words(FLOW, flow.to_words());
    }
}

impl<'a> SharedFlows<'a> {
    /// The table in these words, as many as `hash` has groups.
    pub const fn new(words: &'a [AtomicU64], hash: FlowHash) -> Self {
        Self { words, hash }
    }

    fn lines(&self) -> impl Iterator<Item = SharedLine<'a>> + use<'a> {
        self.words.chunks_exact(FlowLine::WORDS).map(SharedLine)
    }

    fn group(&self, number: u32) -> Option<SharedGroup<'a>> {
        const WORDS: usize = FlowGroup::LINES as usize * FlowLine::WORDS;
        let first = number as usize * WORDS;
        self.words.get(first..first + WORDS).map(SharedGroup)
    }

    /// A flow's line.
    pub fn find(&self, key: &FlowKey) -> Option<SharedLine<'a>> {
        let key = key.to_words();
        let spot = self.hash.spot(&key);
        let group = self.group(spot.group)?;
        flow_table::find(&group, &spot, &key).map(|number| group.line(number))
    }

    /// What is known of a flow.
    pub fn get(&self, key: &FlowKey) -> Option<Flow> {
        self.find(key).map(|line| line.read())
    }

    /// Remembers a flow that is not there yet, at this time in seconds. False when there is no room.
    pub fn insert(&self, key: &FlowKey, flow: Flow, now_s: u32) -> bool {
        let key = key.to_words();
        let spot = self.hash.spot(&key);
        self.group(spot.group).is_some_and(|group| flow_table::insert(&group, &spot, &key, &flow, now_s))
    }

    /// Forgets a flow that is still as it was read; says whether it was.
    pub fn forget(&self, key: &FlowKey, read: &Flow, now_s: u32) -> bool {
        self.find(key).is_some_and(|line| {
            let state = line.state();
            is_taken(state) && line.read() == *read && line.exchange(state, given_back(state, now_s)) == state
        })
    }

    /// Gives back the lines of writers that were killed.
    pub fn reap(&self, now_s: u32) {
        for line in self.lines() {
            let state = line.state();
            if is_left(state, now_s) {
                line.exchange(state, given_back(state, now_s));
            }
        }
    }

    /// All flows.
    pub fn iter(&self) -> impl Iterator<Item = (FlowKey, Flow)> + use<'a> {
        self.lines().filter_map(|line| line.entry())
    }
}

/// A table of flows in memory of this process's own.
#[derive(Debug, Default)]
pub struct HostFlows {
    words: Vec<AtomicU64>,
    hash: FlowHash,
}

impl HostFlows {
    /// An empty table for so many flows.
    pub fn with_room(flows: u32) -> Self {
        Self::seeded(flows, 0)
    }

    /// The same, in which every flow is where it is in other tables with this seed.
    pub fn seeded(flows: u32, seed: u64) -> Self {
        let groups = flow_table::groups(flows);
        let words = groups as usize * size_of::<FlowGroup>() / size_of::<u64>();
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect(), hash: FlowHash::new(groups, seed) }
    }

    /// The table.
    pub fn shared(&self) -> SharedFlows<'_> {
        SharedFlows::new(&self.words, self.hash)
    }

    /// What is known of a flow.
    pub fn get(&self, key: &FlowKey) -> Option<Flow> {
        self.shared().get(key)
    }

    /// All flows.
    pub fn iter(&self) -> impl Iterator<Item = (FlowKey, Flow)> + '_ {
        self.shared().iter()
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Forgets all of them, as if there had never been any.
    pub fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}
