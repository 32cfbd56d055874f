//! Queues for what local containers send: limits whose packets wait (`over = "delay"`).
//!
//! A packet that the tc program translates back leaves by a device's own queue. Where that is `fq`, which an operator has to have
//! set up, packets get a time to leave at, and there is nothing to do here. Where it is the one that the kernel made by itself,
//! Weir puts an `htb` in its place, with a class for each limit (`per = "service"`) or each local backend (`per = "backend"`); what
//! is in no class goes at once. A queue that somebody else has set up stays as it is: by such a device, and by any that Weir is not
//! attached to, packets do not wait; what is over the limit is dropped.
//!
//! Weir's queue is known by its handle ([`Class::QUEUE`](lb_common::abi::Class::QUEUE)), whoever made it: what an earlier run has
//! left is taken over, or taken away. Every [`CHECK`] what is there is compared with what is wanted.

mod found;
mod shaper;
mod wanted;

use std::time::Duration;

pub use found::Queue;
pub use shaper::{Shaper, remove_all};
pub use wanted::{Rate, Wanted};

/// How often devices' queues are looked at though nothing has changed.
pub const CHECK: Duration = Duration::from_secs(10);

/// A device by which replies leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its name.
    pub name: String,
    /// The largest layer-3 packet it takes, in bytes.
    pub mtu: u32,
}
