//! Whose an address and port are.

use crate::abi::{AddressFlags, Endpoint, SettingsFlags, VipKey};
use crate::tables::Tables;

/// The service at an address and port, or what is known of the address.
#[inline(always)]
pub fn service_at<T: Tables + ?Sized>(tables: &T, at: &VipKey) -> Result<u32, u32> {
    // A client's address is in no map, and a look at one word says so.
    if !tables.is_known(&at.address) {
        return Err(0);
    }
    if let Some(id) = tables.vip(at) {
        return Ok(id);
    }
    let known = tables.address(&at.address);
    if known & AddressFlags::ANY_PORT != 0
        && let Some(id) = tables.vip(&VipKey { port: 0, ..*at })
    {
        return Ok(id);
    }
    Err(known)
}

/// The backend that listens at an address and port, or at every port of the address.
#[inline(always)]
pub fn endpoint_at<T: Tables + ?Sized>(tables: &T, at: &VipKey) -> Option<Endpoint> {
    if !tables.is_known(&at.address) {
        return None;
    }
    match tables.endpoint(at) {
        None if has_any_port(tables) => tables.endpoint(&VipKey { port: 0, ..*at }),
        found => found,
    }
}

/// Whether any service has every port.
#[inline(always)]
fn has_any_port<T: Tables + ?Sized>(tables: &T) -> bool {
    tables.settings().is_some_and(|settings| settings.flags & SettingsFlags::ANY_PORT != 0)
}
