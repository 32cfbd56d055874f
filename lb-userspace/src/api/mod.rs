//! The control socket: HTTP and JSON over a Unix socket that only its owner may open.

mod changes;
pub mod client;
mod ledger;
mod limits;
mod routes;
pub mod server;
pub mod top;
pub mod types;
