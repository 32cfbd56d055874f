//! `quic`: connection ids that name the backend.

use lb_common::abi::{MAX_SERVER_ID, QuicIds};

use super::table::Table;

/// The largest number of a configuration: seven says that a connection id names nobody
/// (draft-ietf-quic-load-balancers-21 §3.1).
const MAX_CONFIG: u8 = 6;

/// `quic`: which connection ids a service routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quic {
    /// Bytes of a server id, 1 to [`MAX_SERVER_ID`].
    pub server_id_length: u8,
    /// The configuration's number, which connection ids begin with, 0 to 6.
    pub config: u8,
}

impl Quic {
    /// As a service's head has it.
    pub const fn ids(self) -> QuicIds {
        QuicIds::new(self.config, self.server_id_length)
    }
}

/// Reads `quic` of a service, and says the line it is on.
pub(super) fn read(service: &mut Table<'_, '_>) -> Option<(Quic, usize)> {
    let mut table = service.table("quic", "a table { server_id_length, config }")?;
    let expected = format!("an integer from 1 to {MAX_SERVER_ID}: the bytes of a server id in connection ids");
    table.require("server_id_length", &expected);
    let length = table.integer("server_id_length", &expected, 1, MAX_SERVER_ID as u64);
    let expected = format!("an integer from 0 to {MAX_CONFIG}: what connection ids begin with");
    let config = table.integer("config", &expected, 0, MAX_CONFIG.into());
    let line = table.line;
    table.finish();
    let server_id_length = u8::try_from(length?.value).ok()?;
    Some((
        Quic { server_id_length, config: config.and_then(|found| u8::try_from(found.value).ok()).unwrap_or(0) },
        line,
    ))
}
