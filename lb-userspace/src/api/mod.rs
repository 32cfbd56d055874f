//! The control socket: HTTP and JSON over a Unix socket that only its owner may open.

pub mod client;
pub mod server;
pub mod types;
