//! Many entries of a hash map by a few calls into the kernel, instead of one or two for each.

#![expect(unsafe_code, reason = "aya has no call for it, and two calls an entry take a second for a full flow table")]

use std::io::{Error, ErrorKind};
use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Context as _, Result, bail};
use aya::Pod;

/// `BPF_MAP_LOOKUP_BATCH` of include/uapi/linux/bpf.h (Linux 5.6).
const LOOKUP_BATCH: u32 = 24;
/// `BPF_MAP_UPDATE_BATCH`, of the same.
const UPDATE_BATCH: u32 = 26;

/// How many entries are asked for at first. A bucket of the map with more needs more.
const ENTRIES: usize = 4096;

/// How many at most: no bucket has nearly as many.
const MAX_ENTRIES: usize = 1 << 20;

/// The part of `union bpf_attr` that is for batches.
#[repr(C)]
struct Batch {
    /// Where the last call ended; 0 begins.
    from: u64,
    /// Where this one does.
    to: u64,
    keys: u64,
    values: u64,
    /// How many there is room for, and then how many there were.
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// All entries. One that comes or goes meanwhile may be in it or not; one that is there all the time is.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn entries<K: Pod + Default, V: Pod + Default>(map: impl AsFd) -> Result<Vec<(K, V)>> {
    let map = u32::try_from(map.as_fd().as_raw_fd()).context("a file descriptor below zero")?;
    let mut all = Vec::new();
    let mut room = ENTRIES;
    // The kernel's mark of where it was: opaque, as large as a key at most.
    let (mut from, mut to) = ([0_u8; 64], [0_u8; 64]);
    let mut begun = false;
    loop {
        let (mut keys, mut values) = (vec![K::default(); room], vec![V::default(); room]);
        let mut batch = Batch {
            from: if begun { from.as_ptr() as u64 } else { 0 },
            to: to.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(room).context("more entries than a map has")?,
            map,
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads `batch` and `from`, and writes `to` (less than a key's size) and at most `count`
        // keys and values, for which there is room; their types are plain bytes.
        let result =
            unsafe { nix::libc::syscall(nix::libc::SYS_bpf, LOOKUP_BATCH, &raw mut batch, size_of::<Batch>()) };
        let error = (result < 0).then(Error::last_os_error);
        let last = match &error {
            None => false,
            // These were the last.
            Some(error) if error.kind() == ErrorKind::NotFound => true,
            Some(error) if error.kind() == ErrorKind::Interrupted => continue,
            // A bucket is larger than the room there was; nothing was copied.
            Some(error) if error.raw_os_error() == Some(nix::libc::ENOSPC) && room < MAX_ENTRIES => {
                room *= 2;
                continue;
            }
            Some(error) => bail!("reading a map's entries: {error}"),
        };
        let count = (batch.count as usize).min(room);
        all.extend(keys.into_iter().zip(values).take(count));
        if last {
            return Ok(all);
        }
        (from, begun) = (to, true);
    }
}

/// How far a batch came that the kernel did not take whole.
#[derive(Debug)]
pub(super) struct Stopped {
    /// How many entries were put, the first ones.
    pub(super) done: usize,
    /// Why not the next one.
    pub(super) error: anyhow::Error,
}

/// Puts entries, one after the other; those that are there already get another value.
///
/// # Errors
/// When the kernel refuses one.
pub(super) fn put<K: Pod, V: Pod>(map: impl AsFd, keys: &[K], values: &[V]) -> Result<(), Stopped> {
    let stopped = |done, error| Stopped { done, error };
    let map = u32::try_from(map.as_fd().as_raw_fd()).context("a file descriptor below zero");
    let map = map.map_err(|error| stopped(0, error))?;
    let len = keys.len().min(values.len());
    let mut done = 0;
    while done < len {
        let (keys, values) = (&keys[done..len], &values[done..len]);
        let count = keys.len().min(MAX_ENTRIES);
        let mut batch = Batch {
            from: 0,
            to: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: u32::try_from(count).map_err(|error| stopped(done, error.into()))?,
            map,
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads `batch` and `count` keys and values, which are there and plain bytes, and writes how
        // many it has put into `batch`.
        let result =
            unsafe { nix::libc::syscall(nix::libc::SYS_bpf, UPDATE_BATCH, &raw mut batch, size_of::<Batch>()) };
        let error = (result < 0).then(Error::last_os_error);
        // Of a call that was refused before it began the kernel does not say that it put none.
        let put = if result < 0 && batch.count as usize >= count { 0 } else { batch.count as usize };
        done += put.min(count);
        match error {
            None if put > 0 => {}
            None => return Err(stopped(done, Error::from(ErrorKind::WriteZero).into())),
            Some(error) if error.kind() == ErrorKind::Interrupted => {}
            Some(error) => return Err(stopped(done, anyhow::Error::new(error).context("putting a map's entries"))),
        }
    }
    Ok(())
}
