//! A map that lies in this process's memory too, so that it is written by plain stores.

#![expect(unsafe_code, reason = "memory that the kernel shares with this process cannot be had otherwise")]

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// An array of the kernel's (`BPF_F_MMAPABLE`, Linux 5.5), mapped. Programs read it while it is written.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    start: NonNull<T>,
    len: u32,
    bytes: NonZeroUsize,
    _elements: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value alone, and elements are `Pod`.
unsafe impl<T: Pod> Send for Mapped<T> {}

impl<T: Pod> Mapped<T> {
    /// Maps an array of `len` elements.
    pub(super) fn new(map: impl AsFd, len: u32) -> Result<Self> {
        // The kernel rounds elements up to eight bytes (kernel/bpf/arraymap.c, array_map_alloc), so they lie as in a
        // slice only when they are whole multiples.
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 4096) };
        let bytes = size_of::<T>() * len as usize;
        let bytes = NonZeroUsize::new(bytes.next_multiple_of(4096)).context("an array of no elements")?;
        // SAFETY: a new mapping, wherever the kernel finds room for it.
        let start =
            unsafe { mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, map, 0) }
                .context("mapping an array of the kernel's into memory")?;
        Ok(Self { start: start.cast(), len, bytes, _elements: PhantomData })
    }

    /// How many elements there are.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    fn at(&self, index: u32) -> Result<*mut T> {
        ensure!(index < self.len, "index {index} is outside of a map of {}", self.len);
        // SAFETY: `index` is below the number of elements that are mapped.
        Ok(unsafe { self.start.as_ptr().add(index as usize) })
    }

    /// Reads an element that no program writes.
    pub(super) fn read(&self, index: u32) -> Result<T> {
        let at = self.at(index)?;
        // SAFETY: inside of the mapping, aligned, and any bit pattern is a value.
        Ok(unsafe { at.read_volatile() })
    }

    /// Writes an element. Programs may see it half written: for elements that no program finds, or of one word.
    pub(super) fn write(&mut self, index: u32, value: T) -> Result<()> {
        let at = self.at(index)?;
        // SAFETY: inside of the mapping, aligned, and nobody holds a reference into it.
        unsafe { at.write_volatile(value) };
        Ok(())
    }

    /// Writes one run of elements; see [`Self::write`].
    pub(super) fn write_run(&mut self, first: u32, values: impl ExactSizeIterator<Item = T>) -> Result<()> {
        let len = u32::try_from(values.len()).context("a run longer than any map")?;
        ensure!(
            first.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} elements from {first} are outside of a map of {}",
            self.len
        );
        for (index, value) in (first..).zip(values) {
            self.write(index, value)?;
        }
        Ok(())
    }

    /// Stores the word at byte `offset` of an element, at once and after everything that was written before.
    pub(super) fn store_u64(&mut self, index: u32, offset: usize, word: u64) -> Result<()> {
        assert!(offset + 8 <= size_of::<T>() && offset.is_multiple_of(8));
        let at = self.at(index)?.cast::<u8>();
        // SAFETY: inside of the element, aligned, and only ever reached through this value and by programs.
        unsafe { AtomicU64::from_ptr(at.add(offset).cast()) }.store(word, Ordering::Release);
        Ok(())
    }

    /// As [`Self::store_u64`], for half a word.
    pub(super) fn store_u32(&mut self, index: u32, offset: usize, word: u32) -> Result<()> {
        assert!(offset + 4 <= size_of::<T>() && offset.is_multiple_of(4));
        let at = self.at(index)?.cast::<u8>();
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(at.add(offset).cast()) }.store(word, Ordering::Release);
        Ok(())
    }

    /// All of it as words, which programs may change at the same time.
    pub(super) const fn words(&self) -> &[AtomicU64] {
        let words = self.len as usize * (size_of::<T>() / size_of::<u64>());
        // SAFETY: inside of the mapping and aligned, for as long as this value lives; elements are whole multiples of words
        // (see `new`), and others reach them by atomic accesses, or by volatile ones of whole words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<AtomicU64>().cast_const(), words) }
    }

    /// Clears bits of an element that is a word, which programs may set and clear at the same time.
    pub(super) fn clear_bits(&mut self, index: u32, bits: u64) -> Result<()>
    where
        T: Into<u64>,
    {
        let at = self.at(index)?.cast::<u64>();
        // SAFETY: inside of the mapping, an aligned word, and only ever reached through this value and by programs.
        unsafe { AtomicU64::from_ptr(at) }.fetch_and(!bits, Ordering::SeqCst);
        Ok(())
    }

    /// As [`Self::clear_bits`], but sets them.
    pub(super) fn set_bits(&mut self, index: u32, bits: u64) -> Result<()>
    where
        T: Into<u64>,
    {
        let at = self.at(index)?.cast::<u64>();
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(at) }.fetch_or(bits, Ordering::SeqCst);
        Ok(())
    }

    /// Nothing written after this is seen before what was written before it.
    pub(super) fn barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no reference into it exists.
        if let Err(error) = unsafe { munmap(self.start.cast(), self.bytes.get()) } {
            tracing::warn!(%error, "an array of the kernel's stays mapped until this process ends");
        }
    }
}
