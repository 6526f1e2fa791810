//! How the allocator treats memory that is freed.

use std::ffi::{c_int, c_long};

use libmimalloc_sys as _; // links the C library

/// `mi_option_purge_delay` of `mimalloc.h`, the same in versions 2 and 3.
const PURGE_DELAY: c_int = 15;

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
    fn mi_option_get(option: c_int) -> c_long;
}

/// Tells mimalloc to keep freed memory instead of giving it back to the system. A training step frees and allocates
/// the same few hundred megabytes again and again, and fresh pages have to be cleared: measured, a sixth of a step.
/// To be called once by a program whose global allocator is mimalloc; does nothing with another one. Returns whether
/// the setting was taken.
pub fn keep_freed_memory() -> bool {
    // SAFETY: both only read and write an atomic option of the library, which initialises itself on first use.
    unsafe {
        mi_option_set(PURGE_DELAY, -1);
        mi_option_get(PURGE_DELAY) == -1
    }
}
