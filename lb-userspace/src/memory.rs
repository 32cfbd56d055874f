//! This process's memory.

/// Gives what was freed back to the kernel. The allocator keeps it for later, which after a large change is most of what the
/// process has.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "the C library has no safe interface to its allocator")]
        // SAFETY: it takes no pointers, and looks for whole pages that nobody has, under the allocator's own locks.
        let gave = unsafe { nix::libc::malloc_trim(0) };
        tracing::debug!(gave = gave == 1, "freed memory is given back");
    }
}
