//! What XDP hands to tc: `BPF_PROG_TEST_RUN` gives it out in front of the frame.

use lb_common::abi::{Delivery, Note};

/// A frame that XDP lets pass: what it is to tc, and the frame.
pub(crate) fn without_note(mut out: Vec<u8>) -> (Option<Note>, Vec<u8>) {
    let note = out.first_chunk().and_then(|bytes| Note::from_bytes(*bytes));
    if note.is_some() {
        out.drain(..Note::LEN);
    }
    (note, out)
}

/// Whether tc puts it somewhere: what is the stack's is only said to be known.
pub(crate) fn is_handed(note: Option<Note>) -> bool {
    note.is_some_and(|note| note.delivery != Delivery::STACK)
}
