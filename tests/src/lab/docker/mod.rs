//! A real Docker engine in the lab: a daemon of its own in one of the lab's namespaces, an image made on the spot, and
//! real containers and networks.
//!
//! ```text
//!   clients ──(bridge)── front │ Weir's host ├── docker0 ── containers
//!                              │   dockerd   ├── br-… ──── containers
//! ```
//!
//! The engine shares nothing with another on the machine: its data, state, socket, control group and network namespace
//! are the lab's, and go with it. It needs root, as labs do, and the packages that `cargo xtask setup` names.

mod compose;
mod container;
mod engine;
mod graceful;
mod host;
mod image;
mod network;
pub(super) mod remains;
mod server;

pub use compose::Compose;
pub use container::{Container, Run};
pub use engine::{Engine, Options};
pub use host::{Host, NETWORK, OTHER_NETWORK};
pub use image::{IMAGE, default_server as lab_server_binary};
pub use network::{Network, NetworkOptions};
pub use server::{Arguments as ServerArguments, run as run_server};

/// The directory in a lab's directory that is the engine's.
const ENGINE_DIR: &str = "docker";
