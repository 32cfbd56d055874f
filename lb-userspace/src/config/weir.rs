//! `[weir]`: the controller itself.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::prime::nearest_prime;
use super::table::{Table, describe};

/// Where the control socket is unless the file says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weir/weir.sock";
/// Slots of a Maglev table unless the file says otherwise: the paper's small table.
pub const DEFAULT_TABLE_SIZE: u32 = 65_537;
/// How many sources are remembered unless the file says otherwise.
pub const DEFAULT_MAX_SOURCES: u32 = 262_144;

/// How many backends the maps are made for unless the file says otherwise.
const DEFAULT_MAX_BACKENDS: u32 = 16_384;

const MIN_TABLE_SIZE: u32 = 251;
const MAX_TABLE_SIZE: u32 = 1_048_573;
const MAX_MAX_SOURCES: u32 = 1 << 24;
/// As many addresses as next hops are followed for.
const MAX_MAX_BACKENDS: u32 = 16_384;
/// `sun_path` of unix(7), without its closing zero.
const MAX_SOCKET_BYTES: usize = 107;

/// `[weir]`: the controller itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weir {
    /// Where the control socket is.
    pub socket: PathBuf,
    /// What SIGTERM leaves behind.
    pub on_exit: OnExit,
    /// Mixed into every flow's hash. Balancers that share traffic (ECMP) need the same one.
    pub hash_seed: u64,
    /// Slots of a service's Maglev table: a prime between 251 and 1,048,573.
    pub table_size: u32,
    /// How many sources all per-source limits together remember, 1 to 16,777,216.
    pub max_sources: u32,
    /// How many backends all services together may have, 1 to 16,384.
    pub max_backends: u32,
}

impl Default for Weir {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            on_exit: OnExit::Detach,
            hash_seed: 0,
            table_size: DEFAULT_TABLE_SIZE,
            max_sources: DEFAULT_MAX_SOURCES,
            max_backends: DEFAULT_MAX_BACKENDS,
        }
    }
}

/// What SIGTERM leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// Nothing: the host is as it was.
    Detach,
}

/// Reads `[weir]`; paths in it start at `directory`.
pub(super) fn read(root: &mut Table<'_, '_>, directory: &Path) -> Weir {
    let mut weir = Weir::default();
    let Some(mut table) = root.table("weir", "a table [weir]") else { return weir };
    if let Some(socket) = table.string("socket", "the path of a Unix socket", usize::MAX) {
        weir.socket = directory.join(socket.value);
        let bytes = weir.socket.as_os_str().as_bytes().len();
        if bytes > MAX_SOCKET_BYTES {
            let text =
                format!("found a path of {bytes} bytes, expected at most {MAX_SOCKET_BYTES}: the kernel's limit");
            table.problem(socket.line, "socket", text);
        }
    }
    weir.on_exit = table
        .get("on_exit", "\"detach\"", |value| match value.as_str() {
            Some("detach") => Ok(OnExit::Detach),
            Some("keep") => Err("\"keep\", which a later run cannot adopt yet and would find in its way".to_owned()),
            _ => Err(describe(value)),
        })
        .map_or(weir.on_exit, |found| found.value);
    if let Some(seed) = table.integer("hash_seed", "an integer from 0 to 18446744073709551615", 0, u64::MAX) {
        weir.hash_seed = seed.value;
    }
    weir.table_size = read_table_size(&mut table).unwrap_or(weir.table_size);
    weir.max_sources = read_count(&mut table, "max_sources", MAX_MAX_SOURCES).unwrap_or(weir.max_sources);
    weir.max_backends = read_count(&mut table, "max_backends", MAX_MAX_BACKENDS).unwrap_or(weir.max_backends);
    table.finish();
    weir
}

/// An integer from 1 to `most`.
fn read_count(table: &mut Table<'_, '_>, key: &'static str, most: u32) -> Option<u32> {
    let found = table.integer(key, &format!("an integer from 1 to {most}"), 1, most.into())?;
    u32::try_from(found.value).ok()
}

fn read_table_size(table: &mut Table<'_, '_>) -> Option<u32> {
    let expected = format!("a prime from {MIN_TABLE_SIZE} to {MAX_TABLE_SIZE}");
    let found = table.integer("table_size", &expected, MIN_TABLE_SIZE.into(), MAX_TABLE_SIZE.into())?;
    let size = u32::try_from(found.value).ok()?;
    let prime = nearest_prime(size);
    if prime != size {
        // Maglev walks the table in steps: only a prime size makes every step reach every slot.
        let text = format!("found {size}, which is no prime, expected {expected}: the nearest is {prime}");
        table.problem(found.line, "table_size", text);
    }
    Some(size)
}
