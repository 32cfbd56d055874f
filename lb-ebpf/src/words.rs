//! Words of a frame, read and written at offsets that are numbers in the instruction.

/// Loads and stores of whole words at any address, which the kernel allows on processors that have them (x86-64, arm64). The
/// compiler would take four bytes one by one. Of `N` bytes, which begin `AT` bytes behind an address, they move those from
/// `FROM` on: both are numbers in the instruction.
macro_rules! word {
    ($load:ident, $store:ident, $type:ty, $name:literal) => {
        #[inline(always)]
        unsafe fn $load<const AT: usize, const FROM: usize, const N: usize>(start: *const u8, bytes: &mut [u8; N]) {
            let word: u64;
            // SAFETY: the caller's `N` bytes, of which these are some.
            unsafe {
                core::arch::asm!(
                    concat!("{word} = *(", $name, " *)({start} + {at})"),
                    word = out(reg) word,
                    start = in(reg) start,
                    at = const AT + FROM,
                    options(pure, readonly, nostack, preserves_flags),
                );
                // The load has cleared the rest of the register.
                core::hint::assert_unchecked(word <= <$type>::MAX as u64);
            }
            if let Some(part) = bytes.get_mut(FROM..).and_then(<[u8]>::first_chunk_mut) {
                *part = (word as $type).to_ne_bytes();
            }
        }

        #[inline(always)]
        unsafe fn $store<const AT: usize, const FROM: usize, const N: usize>(start: *mut u8, bytes: &[u8; N]) {
            if let Some(part) = bytes.get(FROM..).and_then(<[u8]>::first_chunk) {
                // SAFETY: as above.
                unsafe {
                    core::arch::asm!(
                        concat!("*(", $name, " *)({start} + {at}) = {word}"),
                        start = in(reg) start,
                        word = in(reg) u64::from(<$type>::from_ne_bytes(*part)),
                        at = const AT + FROM,
                        options(nostack, preserves_flags),
                    );
                }
            }
        }
    };
}

word!(load8, store8, u8, "u8");
word!(load16, store16, u16, "u16");
word!(load32, store32, u32, "u32");
word!(load64, store64, u64, "u64");

/// Calls one of two families of functions for every word of `N` bytes, the largest first. Not a loop, so that the compiler
/// knows every offset from the start.
macro_rules! words {
    ($at:ident, $size:ident, $eight:ident, $four:ident, $two:ident, $one:ident, $start:expr, $bytes:expr) => {{
        const { assert!($size < 48, "more words than are written out here") };
        if $size >= 8 {
            $eight::<$at, 0, $size>($start, $bytes);
        }
        if $size >= 16 {
            $eight::<$at, 8, $size>($start, $bytes);
        }
        if $size >= 24 {
            $eight::<$at, 16, $size>($start, $bytes);
        }
        if $size >= 32 {
            $eight::<$at, 24, $size>($start, $bytes);
        }
        if $size >= 40 {
            $eight::<$at, 32, $size>($start, $bytes);
        }
        // What is left of them, whose place follows from their number.
        match $size & !7 {
            0 => rest!($at, 0, $size, $four, $two, $one, $start, $bytes),
            8 => rest!($at, 8, $size, $four, $two, $one, $start, $bytes),
            16 => rest!($at, 16, $size, $four, $two, $one, $start, $bytes),
            24 => rest!($at, 24, $size, $four, $two, $one, $start, $bytes),
            32 => rest!($at, 32, $size, $four, $two, $one, $start, $bytes),
            _ => rest!($at, 40, $size, $four, $two, $one, $start, $bytes),
        }
    }};
}

/// The last seven bytes at most.
macro_rules! rest {
    ($at:ident, $from:literal, $size:ident, $four:ident, $two:ident, $one:ident, $start:expr, $bytes:expr) => {{
        if $size & 4 != 0 {
            $four::<$at, $from, $size>($start, $bytes);
        }
        match $size & 6 {
            2 => $two::<$at, $from, $size>($start, $bytes),
            6 => $two::<$at, { $from + 4 }, $size>($start, $bytes),
            _ => {}
        }
        match $size & 7 {
            1 => $one::<$at, $from, $size>($start, $bytes),
            3 => $one::<$at, { $from + 2 }, $size>($start, $bytes),
            5 => $one::<$at, { $from + 4 }, $size>($start, $bytes),
            7 => $one::<$at, { $from + 6 }, $size>($start, $bytes),
            _ => {}
        }
    }};
}

/// Reads the `N` bytes that begin `AT` bytes behind an address.
#[inline(always)]
pub unsafe fn copy_from<const AT: usize, const N: usize>(start: *const u8) -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the caller has compared them with the frame's end.
    unsafe { words!(AT, N, load64, load32, load16, load8, start, &mut bytes) };
    bytes
}

/// Writes the `N` bytes that begin `AT` bytes behind an address, which the caller has compared with the frame's end.
#[inline(always)]
pub unsafe fn copy_to<const AT: usize, const N: usize>(start: *mut u8, bytes: [u8; N]) {
    // SAFETY: as in `copy_from`.
    unsafe { words!(AT, N, store64, store32, store16, store8, start, &bytes) };
}
