//! Which flows of snat have ended, and what they had.
//!
//! A flow of snat is three things: an entry by which its packets find their port, one by which its replies find the client,
//! and the port's bit in a pool. The packet path makes them; here they are given back. What is half there, because
//! somebody was stopped on the way, is seen in two readings before it is taken for that: entries are read one table after
//! the other, while packets make new ones.
//!
//! Nothing here does I/O: a sweep is a function of what was read, and says what to give back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lb_common::Address;
use lb_common::abi::{FIRST_PORT_WORD, Flow, FlowKey, PORT_WORDS, Snat, SnatReply, SnatReplyKey};

use crate::dataplane::{Port, Release};
use crate::plan::{ServiceState, State};
use crate::vip::{Protocol, Vip};

/// What the controller knows of flows of snat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snats {
    /// Flows that were living at the last sweep, by their backend's id.
    pub living: BTreeMap<u32, u64>,
    /// Addresses that they leave from.
    pub sources: BTreeSet<Address>,
    /// What was half there at the last reading.
    halves: Halves,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Halves {
    flows: BTreeSet<FlowKey>,
    replies: BTreeSet<SnatReplyKey>,
    /// Bits of ports that no flow had, by the word's number.
    ports: BTreeMap<u32, u64>,
}

/// What a sweep looks at.
pub struct Facts<'a> {
    /// The packet path's clock, in seconds, from before anything was read.
    pub now_s: u32,
    /// A service's idle time-out, in seconds.
    pub idle_s: &'a dyn Fn(&Vip) -> u32,
    /// All flows.
    pub flows: &'a [(FlowKey, Snat)],
    /// Whose the replies are, read after the flows.
    pub replies: &'a [(SnatReplyKey, SnatReply)],
    /// The pools of ports, read after that; not every time.
    pub ports: Option<&'a [u64]>,
    /// Backends, by id, whose connections are not kept.
    pub cut: &'a BTreeSet<u32>,
}

/// A port towards a backend: no two flows have one.
type Place = (Address, u16, u32);

impl Snats {
    /// How many flows were living at the last sweep.
    pub fn flows(&self) -> u64 {
        self.living.values().sum()
    }

    /// What to give back.
    pub fn sweep(&mut self, facts: &Facts<'_>, state: &State) -> Vec<Release> {
        let services: HashMap<u32, (&Vip, &ServiceState)> =
            state.services.iter().map(|(vip, service)| (service.id, (vip, service))).collect();
        let backends: HashMap<u32, u32> = state
            .services
            .values()
            .flat_map(|service| service.backends.values().map(|backend| (backend.id, service.id)))
            .collect();
        let replies: HashMap<Place, &(SnatReplyKey, SnatReply)> =
            facts.replies.iter().map(|entry| ((entry.0.source, entry.0.port, entry.1.backend), entry)).collect();
        let mut of_flows: HashSet<&SnatReplyKey> = HashSet::with_capacity(facts.flows.len());
        let mut releases = Vec::new();
        let before = std::mem::take(self);
        for (key, snat) in facts.flows {
            let there = replies.get(&(snat.source, snat.port, snat.backend));
            let own = there.filter(|(_, reply)| is_of(key, reply));
            let reply = own.map(|(key, _)| key);
            of_flows.extend(reply);
            let served = services.get(&key.service).filter(|_| backends.get(&snat.backend) == Some(&key.service));
            let flow = Some((*key, *snat));
            let is_over = match (served, own) {
                // Its service or its backend is gone, or is not to have connections.
                (None, _) => true,
                _ if facts.cut.contains(&snat.backend) => true,
                (Some((vip, _)), Some((_, reply))) => !is_living(snat, reply, vip, facts),
                // Half of a flow.
                (Some(_), None) => {
                    self.halves.flows.insert(*key);
                    before.halves.flows.contains(key)
                }
            };
            if is_over {
                // A port that another flow has stays that one's.
                let port = (there.is_none() || own.is_some()).then(|| Port::of(snat));
                releases.push(Release { flow, reply: reply.copied(), port });
            } else {
                *self.living.entry(snat.backend).or_default() += 1;
                self.sources.insert(snat.source);
            }
        }
        for (key, _) in facts.replies.iter().filter(|(key, _)| !of_flows.contains(key)) {
            if before.halves.replies.contains(key) {
                releases.push(Release { reply: Some(*key), ..Release::default() });
            }
            self.halves.replies.insert(*key);
        }
        self.halves.ports = match facts.ports {
            Some(ports) => strays(ports, state.stride(), facts.flows),
            None => before.halves.ports.clone(),
        };
        if facts.ports.is_some() {
            for (word, bits) in &self.halves.ports {
                let again = bits & before.halves.ports.get(word).copied().unwrap_or(0);
                releases.extend(ports_of(*word, again, state.stride()));
            }
        }
        releases
    }
}

/// Whether an entry for replies is a flow's other half.
fn is_of(key: &FlowKey, reply: &SnatReply) -> bool {
    (reply.client, reply.client_port, reply.service) == (key.client, key.client_port, key.service)
}

fn is_living(snat: &Snat, reply: &SnatReply, vip: &Vip, facts: &Facts<'_>) -> bool {
    let later = snat.seen_s.wrapping_sub(reply.seen_s).cast_signed() > 0;
    let flow = Flow {
        seen_s: if later { snat.seen_s } else { reply.seen_s },
        client: snat.client,
        server: reply.server,
        ..Flow::default()
    };
    flow.is_living(facts.now_s, (facts.idle_s)(vip), vip.protocol == Protocol::Tcp)
}

/// Bits of ports that no flow has, by the word's number.
fn strays(ports: &[u64], stride: u32, flows: &[(FlowKey, Snat)]) -> BTreeMap<u32, u64> {
    let mut owned: HashMap<u32, u64> = HashMap::with_capacity(flows.len());
    for [(word, bit), _] in flows.iter().filter_map(|(_, snat)| Port::of(snat).bits(stride)) {
        *owned.entry(word).or_default() |= bit;
    }
    let stray = |(word, bits): (u32, &u64)| {
        let is_port = word % PORT_WORDS >= FIRST_PORT_WORD;
        let stray = bits & !owned.get(&word).copied().unwrap_or(0);
        (is_port && stray != 0).then_some((word, stray))
    };
    (0_u32..).zip(ports).filter(|(_, bits)| **bits != 0).filter_map(stray).collect()
}

/// The ports of bits in a word.
fn ports_of(word: u32, bits: u64, stride: u32) -> impl Iterator<Item = Release> {
    let (place, word) = (word / PORT_WORDS, word % PORT_WORDS);
    (0..64_u32).filter(move |bit| bits >> bit & 1 != 0).filter_map(move |bit| {
        let port = Port {
            pool: u16::try_from(place.checked_div(stride)?).ok()?,
            index: place.checked_rem(stride)?,
            port: u16::try_from(word * 64 + bit).ok()?,
        };
        Some(Release { port: Some(port), ..Release::default() })
    })
}

#[cfg(test)]
#[path = "snat_tests.rs"]
mod tests;
