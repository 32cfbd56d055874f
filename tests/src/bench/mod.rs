//! What `cargo xtask bench` and the bench that it starts (`tests/benches/speed`) have in common.

mod arguments;
mod gate;

pub use arguments::{Arguments, PARTS};
pub use gate::{Figures, Held, Measured};
