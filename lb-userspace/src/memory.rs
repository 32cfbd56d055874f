//! This process's memory.

/// Has all threads share one pool of the allocator's: what one gave back in its own, the others cannot have, and those who
/// read a registry take as much as those who write the maps. To be called before there are other threads.
pub fn share_one_pool() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "the C library has no safe interface to its allocator")]
        // SAFETY: it takes no pointers, and no other thread is there to allocate.
        let taken = unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1) };
        if taken != 1 {
            tracing::debug!("every thread has a pool of its own");
        }
    }
}

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

/// Gives the pages of a part of the program back that has been read and is not needed again; who reads it nevertheless has
/// them read from the program's file.
pub fn give_back_text(text: &'static [u8]) {
    const PAGE: usize = 4096;
    let start = text.as_ptr().align_offset(PAGE);
    let len = text.len().saturating_sub(start) / PAGE * PAGE;
    let Some(pages) = text.get(start..start.saturating_add(len)).filter(|pages| !pages.is_empty()) else { return };
    let first = std::ptr::NonNull::from(pages).cast();
    #[expect(unsafe_code, reason = "the kernel has to be told where the pages are")]
    // SAFETY: bytes that live as long as the program lie in a mapping of its file that nobody has written: the kernel has
    // the same bytes again for whoever reads them.
    let gave = unsafe { nix::sys::mman::madvise(first, len, nix::sys::mman::MmapAdvise::MADV_DONTNEED) };
    if let Err(error) = gave {
        tracing::debug!(%error, "the program's text stays in memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_after_it_was_given_back() {
        static TEXT: [u8; 3 * 4096] = [7; 3 * 4096];
        give_back_text(&TEXT);
        assert!(TEXT.iter().all(|byte| *byte == 7));
        give_back_text(&TEXT[..5]);
        give_back_text(&[]);
        share_one_pool();
        give_back();
    }
}
