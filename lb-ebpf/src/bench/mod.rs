//! What the bench needs in the kernel. Never attached to anything but devices that the bench made.

mod generator;
mod harness;
