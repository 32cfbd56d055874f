//! `weir decap`: the end of Weir's tunnels, on a backend's host.
//!
//! What a packet is, and what becomes of it, is in [`lb_common::decap`]. Here are its programs' loading and attaching
//! ([`Object`]), what they are told ([`Options`], [`Sender`]), and what they counted ([`Report`]).

mod device;
mod object;
mod report;
mod run;
mod sender;

pub use object::Object;
pub use report::{Report, Row};
pub use run::{Options, run};
pub use sender::Sender;
