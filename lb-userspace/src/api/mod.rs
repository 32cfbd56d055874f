//! The control socket: HTTP and JSON over a Unix socket that only its owner may open.

mod changes;
pub mod client;
mod ledger;
mod routes;
pub mod server;
pub mod types;
