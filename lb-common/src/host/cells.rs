//! Elements of the host's tables that the packet path changes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use crate::Address;
use crate::abi::{Backend, Connection, Datagram, FlowKey, FragmentKey, Fragments, Snat, SnatReply, SnatReplyKey};
use crate::gcra::Bucket;
use crate::host::SharedBuckets;
use crate::limits::OwnBucket;
use crate::tables::{BackendCell, Bits, FragmentsCell, SnatCell, SnatReplyCell};

/// A bucket on the host.
#[derive(Debug)]
pub enum HostBucket<'a> {
    /// A limit's one bucket.
    Service(&'a Cell<u64>),
    /// The word of a connection that is counted.
    Counted(&'a RefCell<BTreeMap<FlowKey, Connection>>, FlowKey),
    /// A source's or a backend's, for whoever is not a packet.
    Own(&'a AtomicU64),
}

impl Bucket for HostBucket<'_> {
    fn load(&self) -> u64 {
        match self {
            Self::Service(cell) => cell.get(),
            Self::Counted(all, key) => {
                all.borrow().get(key).map_or(0, |known| Connection::word(known.seen_s, known.flags))
            }
            Self::Own(bucket) => Bucket::load(bucket),
        }
    }

    fn compare_exchange(&self, expected: u64, new: u64) -> u64 {
        match self {
            Self::Service(cell) => {
                let found = cell.get();
                if found == expected {
                    cell.set(new);
                }
                found
            }
            Self::Counted(all, key) => {
                let found = self.load();
                if let Some(known) = all.borrow_mut().get_mut(key).filter(|_| found == expected) {
                    (known.seen_s, known.flags) = Connection::of_word(new);
                }
                found
            }
            Self::Own(bucket) => Bucket::compare_exchange(bucket, expected, new),
        }
    }
}

/// The bucket of a source or a backend.
#[derive(Debug)]
pub struct HostOwn<'a> {
    table: SharedBuckets<'a>,
    number: u32,
    bucket: &'a AtomicU64,
}

impl<'a> HostOwn<'a> {
    /// The one with this number in a table.
    pub(super) fn of(table: SharedBuckets<'a>, number: u32) -> Option<Self> {
        Some(Self { table, number, bucket: table.bucket(number)? })
    }
}

impl Bucket for HostOwn<'_> {
    fn load(&self) -> u64 {
        Bucket::load(&self.bucket)
    }

    fn compare_exchange(&self, expected: u64, new: u64) -> u64 {
        Bucket::compare_exchange(&self.bucket, expected, new)
    }
}

impl OwnBucket for HostOwn<'_> {
    fn note_asked(&self, over: bool) {
        self.table.note_asked(self.number, over);
    }
}

/// A row that nobody writes meanwhile.
impl BackendCell for &Backend {
    fn version(&self) -> u32 {
        self.version
    }

    fn address(&self) -> Address {
        self.address
    }

    fn way(&self) -> (u16, u32) {
        (self.delivery, self.ifindex)
    }

    fn mtu(&self) -> u32 {
        self.mtu
    }

    fn macs(&self) -> [u8; 12] {
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&self.mac_destination);
        macs[6..].copy_from_slice(&self.mac_source);
        macs
    }

    fn lane(&self) -> u8 {
        self.lane
    }
}

/// An entry of a map on the host, by its key.
#[derive(Debug)]
pub struct Entry<'a, K, V> {
    pub(super) map: &'a RefCell<BTreeMap<K, V>>,
    pub(super) key: K,
}

impl<'a, K: Ord + Copy, V: Copy> Entry<'a, K, V> {
    /// The entry, if it is there.
    pub(super) fn find(map: &'a RefCell<BTreeMap<K, V>>, key: &K) -> Option<Self> {
        map.borrow().contains_key(key).then_some(Self { map, key: *key })
    }

    fn get(&self) -> Option<V> {
        self.map.borrow().get(&self.key).copied()
    }

    fn change<R>(&self, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.map.borrow_mut().get_mut(&self.key).map(change)
    }
}

impl FragmentsCell for Entry<'_, FragmentKey, Fragments> {
    fn datagram(&self) -> Datagram {
        self.get().map(|fragments| fragments.datagram).unwrap_or_default()
    }

    fn mark(&self, word: usize, blocks: u64) -> u64 {
        self.change(|fragments| {
            let before = fragments.seen[word];
            fragments.seen[word] |= blocks;
            before
        })
        .unwrap_or(0)
    }

    fn add(&self, bytes: u32) -> u64 {
        self.change(|fragments| {
            let before = fragments.datagram.got;
            fragments.datagram.got += u64::from(bytes);
            before
        })
        .unwrap_or(0)
    }

    fn set_fate(&self, fate: u32) {
        self.change(|fragments| fragments.datagram.fate = fate);
    }

    fn set_end(&self, end: u32) {
        self.change(|fragments| fragments.datagram.end = end);
    }
}

impl SnatCell for Entry<'_, FlowKey, Snat> {
    fn read(&self) -> Snat {
        self.get().unwrap_or_default()
    }

    fn note(&self, seen_s: u32, client: u32) {
        self.change(|snat| *snat = Snat { seen_s, client, ..*snat });
    }
}

impl SnatReplyCell for Entry<'_, SnatReplyKey, SnatReply> {
    fn read(&self) -> SnatReply {
        self.get().unwrap_or_default()
    }

    fn note(&self, seen_s: u32, server: u32) {
        self.change(|reply| *reply = SnatReply { seen_s, server, ..*reply });
    }
}

/// A word of bits on the host.
#[derive(Debug)]
pub struct HostBits<'a>(pub(super) &'a Cell<u64>);

impl Bits for HostBits<'_> {
    fn load(&self) -> u64 {
        self.0.get()
    }

    fn set(&self, bits: u64) -> u64 {
        let before = self.0.get();
        self.0.set(before | bits);
        before
    }

    fn clear(&self, bits: u64) {
        self.0.set(self.0.get() & !bits);
    }
}
