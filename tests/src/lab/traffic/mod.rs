//! Traffic that lasts while things change, every byte of it checked.
//!
//! Backends run an [`Answerer`]; clients run [`Fleet`]s, [`ShortLoad`]s and [`UdpStream`]s. What breaks is entered in a
//! [`Ledger`], which knows what the test itself has broken.

mod answerer;
mod bulk;
mod crowd;
mod fleet;
mod histogram;
mod kernel_counter;
mod keystream;
mod ledger;
mod priority;
mod short_load;
mod syn_flood;
mod tcp_fleet;
mod udp_fleet;
mod udp_stream;

pub use answerer::{ANSWER_PORT, Answerer};
pub use bulk::{BulkReport, BulkServer};
pub use crowd::{Crowd, Member};
pub use fleet::{Fleet, Lives, Manners};
pub use histogram::Histogram;
pub use kernel_counter::{kernel_counter, udp_buffer_errors};
pub use keystream::Keystream;
pub use ledger::{Break, Cause, Excused, Ledger, Traffic};
pub(in crate::lab) use priority::raise as raise_priority;
pub use short_load::{ShortLoad, ShortReport};
pub use syn_flood::{FLOOD_V4_PREFIX, FLOOD_V6_PREFIX, FloodReport, SynFlood};
pub use udp_stream::{StreamReport, UdpStream};
