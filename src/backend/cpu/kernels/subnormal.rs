//! Numbers below 2^-126 are taken for zero while kernels run, as XLA and TensorFlow do: the processor multiplies them
//! many times slower than others, and training on images, unlike noise, makes enough of them to be felt.

/// While this lives, its thread takes subnormal operands and results for zero.
#[derive(Debug)]
pub struct Flushed {
    #[cfg(target_arch = "x86_64")]
    before: u32,
}

#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    /// "Denormals are zero" and "flush to zero".
    pub const FLUSH: u32 = 1 << 6 | 1 << 15;

    pub fn read() -> u32 {
        let mut value = 0_u32;
        // SAFETY: stores the register in a place of its size.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }

    pub fn write(value: u32) {
        // SAFETY: a value that was read, but for the two bits above: no exception is unmasked. Sums and products
        // between the two writes are those of kernels, which say that they flush; no code relies on subnormal results.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, readonly, preserves_flags)) };
    }
}

impl Flushed {
    /// Sets the processor's flags for this thread; dropping the value sets them back.
    #[must_use]
    pub fn begin() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let before = register::read();
            register::write(before | register::FLUSH);
            Self { before }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self {}
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        register::write(self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn lasts_as_long_as_the_guard() {
        let half = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        assert!(half() > 0.0);
        let flushed = Flushed::begin();
        assert_eq!(half(), 0.0);
        assert_eq!(black_box(f32::MIN_POSITIVE / 4.0) * black_box(4.0), 0.0);
        drop(flushed);
        assert!(half() > 0.0);
    }
}
