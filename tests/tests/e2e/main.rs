//! Weir from end to end: the real `weir`, a real kernel, real connections between network namespaces.

mod bulk;
mod conversation;
mod craft;
mod held;
mod host_state;
mod lasting;
mod stand;

mod clients;
mod connections;
mod direct;
mod discovery;
mod drains;
mod files;
mod hops;
mod host;
mod keeping;
mod keeping_devices;
mod keeping_refused;
mod leaving;
mod limits;
mod movement;
mod plans;
mod reload;
mod resets;
mod shared;
mod slow_start;
mod stopped;
mod strangers;
mod usage;
