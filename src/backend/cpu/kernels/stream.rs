//! Stores past the cache, of what is not read again soon: an ordinary store would first read the line from memory, and
//! drive another out of the cache.

/// Bytes that a streamed vector is aligned to: a cache line.
const ALIGNMENT: usize = 64;

/// Whether a vector at the start can be streamed.
pub fn aligned(to: &[f32]) -> bool {
    to.as_ptr().addr().is_multiple_of(ALIGNMENT)
}

/// Makes what this thread has streamed visible to those that it synchronises with afterwards, as other stores are.
pub fn finish() {
    // SAFETY: every processor of this architecture has the instruction.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}
