//! Packets made up, and what is done with one that two implementations disagree on.
//!
//! Everything follows from a seed: the services ([`World`]), and the packets that are sent to them ([`Packets`]), which also
//! depend on what came out before. [`shrink`] looks for the least that shows a difference.

mod fragments;
mod mutation;
mod numbers;
mod others;
mod packets;
mod shrink;
mod turned;
mod world;

pub use numbers::Numbers;
pub use packets::Packets;
pub use shrink::shrink;
pub use world::{Backend, Forward, Limit, Over, Per, SLOTS, Service, World};
