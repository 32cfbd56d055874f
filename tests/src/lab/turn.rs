//! Whose turn it is to have a lab.

use std::sync::{Condvar, Mutex, PoisonError};

/// The right to have a lab standing: one for every two processors.
#[derive(Debug)]
pub(super) struct Turn;

static STANDING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Turn {
    /// Waits for it.
    pub(super) fn take() -> Self {
        let most = std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
        let standing = STANDING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut standing =
            FREED.wait_while(standing, |standing| *standing >= most).unwrap_or_else(PoisonError::into_inner);
        *standing += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *STANDING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}
