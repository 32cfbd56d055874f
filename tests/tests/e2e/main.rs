//! Weir from end to end: the real `weir`, a real kernel, real connections between network namespaces.

mod bulk;
mod craft;
mod held;
mod host_state;
mod stand;

mod clients;
mod connections;
mod direct;
mod discovery;
mod files;
mod hops;
mod host;
mod leaving;
mod limits;
mod movement;
mod shared;
mod stopped;
mod strangers;
mod usage;
