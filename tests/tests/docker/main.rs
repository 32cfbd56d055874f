//! Weir on a host whose backends are containers: a real engine, real containers, real connections.
//!
//! Each test has a lab and an engine of its own, and clients beyond the host's NIC.

mod stage;

mod bad_input;
mod baseline;
mod bulk;
mod churn;
mod clients;
mod compose;
mod first_request;
mod lifecycle;
mod lost_engine;
mod stopping;
mod swarm;
mod untouched;
