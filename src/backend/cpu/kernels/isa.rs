//! Which instruction set the kernels run on, chosen once per process.

use std::sync::OnceLock;

/// An instruction set that the kernels are compiled for, slowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Whatever the compiler's baseline offers; no fused multiply-add.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    /// The best that this machine has.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// The one in use: [`Isa::detect`], held down by the environment's
    /// `VITX_ISA=portable|avx2|avx512`; read once.
    #[inline]
    #[must_use]
    pub fn current() -> Self {
        #[cfg(test)]
        if let Some(isa) = tests::FORCED.get() {
            return isa;
        }
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let cap = match std::env::var("VITX_ISA").as_deref() {
                Ok("portable") => Self::Portable,
                Ok("avx2") => Self::Avx2,
                _ => Self::Avx512,
            };
            Self::detect().min(cap)
        })
    }
}

/// Compiles a generic `fn NAME<const FMA: bool>(...)` under each instruction set and gives a function
/// that calls the right one. The generic must be `#[inline(always)]`, so that its body is compiled
/// with the features of each clone; `FMA` says whether `f32::mul_add` is one instruction.
macro_rules! multiversion {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $generic:ident;)*) => {$(
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::backend::cpu::kernels::isa::Isa;

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $generic::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $generic::<true>($($arg),*)
                }
                match Isa::current() {
                    // SAFETY: `Isa::current` is at most what the processor was found to have.
                    Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    Isa::Portable => {}
                }
            }
            $generic::<false>($($arg),*)
        }
    )*};
}
pub(crate) use multiversion;

/// `a * b + c`, fused where `FMA` says that fusing is one instruction.
#[inline(always)]
pub(crate) fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// What [`Isa::current`] answers in this thread.
        pub static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
    }

    /// Runs `check` on every instruction set that this machine has.
    pub fn on_each_isa(mut check: impl FnMut(Isa)) {
        for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
            if isa <= Isa::detect() {
                FORCED.set(Some(isa));
                check(isa);
            }
        }
        FORCED.set(None);
    }

    /// Numbers in [-1, 1), the same on every run.
    pub fn noise(seed: u32, len: usize) -> Vec<f32> {
        use crate::random::{Philox, Stream, unit};
        let philox = Philox::new(u64::from(seed), Stream::Benchmark);
        (0..len).map(|i| 2.0 * unit(philox.block([i as u32, 0, 0, 0])[0]) - 1.0).collect()
    }

    /// Asserts that every element lies within `tolerance` of the reference, absolutely or relatively.
    #[track_caller]
    pub fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
        assert_eq!(actual.len(), expected.len(), "{what}");
        for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
            let error = (f64::from(a) - e).abs();
            assert!(error <= tolerance * e.abs().max(1.0), "{what}: element {i} is {a}, not {e} (off by {error:e})");
        }
    }

    #[test]
    fn current_is_something_this_machine_has() {
        assert!(Isa::current() <= Isa::detect());
    }
}
