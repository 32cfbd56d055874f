//! Keys of maps: added where there is none, removed where there is one.

use anyhow::Result;
use aya::Pod;
use aya::maps::{HashMap, MapData};

/// `BPF_NOEXIST` (bpf.h): an update that changes nothing that is there.
const BPF_NOEXIST: u64 = 1;

/// Inserts what is not there yet; whether it was not.
pub(super) fn insert_new<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>, key: &K, value: &V) -> Result<bool> {
    match map.insert(key, value, BPF_NOEXIST) {
        Err(aya::maps::MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(false)
        }
        other => Ok(other.map(|()| true)?),
    }
}

/// Removes a key; whether it was there.
pub(super) fn remove_known<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>, key: &K) -> Result<bool> {
    match map.remove(key) {
        Err(aya::maps::MapError::KeyNotFound) => Ok(false),
        Err(aya::maps::MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
            Ok(false)
        }
        other => Ok(other.map(|()| true)?),
    }
}
