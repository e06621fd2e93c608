//! Sixteen floats at a time, for kernels that must know their registers.
//!
//! A kernel is written once over [`Vector`] and compiled for each instruction set by [`vectorised!`].
//! AVX-512 and AVX2 compute the same bits: the lanes are the same, and so is the order in which
//! [`Vector::sum`] adds them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// Lanes of a [`Vector`].
pub(crate) const LANES: usize = 16;

/// Sixteen floats.
///
/// # Safety
/// All methods need the instruction set that the type is named after; those that take a pointer
/// need it to be valid for as many elements as they touch.
pub(crate) trait Vector: Copy {
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// As `store`, past the cache (see [`super::stream`]), to a place that is aligned to 64 bytes.
    unsafe fn stream(self, to: *mut f32);
    /// The first `count` elements, at most 16, and `fill` in the other lanes.
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self;
    /// Stores the first `count` lanes, at most 16.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `self · factor + term`, fused where the instruction set can.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// `other` where it is larger, else `self`: a NaN in `self` stays.
    unsafe fn larger(self, other: Self) -> Self;
    /// `self - floor(self)`; for infinities, anything.
    unsafe fn fraction(self) -> Self;
    /// `self · 2^floor(exponent)`, zero where the exponent is below -126. It is below 128.
    unsafe fn times_power_of_two(self, exponent: Self) -> Self;
    /// Zero where `x < bound`, else `self`.
    unsafe fn zero_below(self, x: Self, bound: Self) -> Self;
    /// Zero in the lanes whose bit is not set.
    unsafe fn keep(self, bits: u16) -> Self;
    /// The magnitude of `self` with the sign of `other`.
    unsafe fn with_sign_of(self, other: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// `1 / self` within 1 ulp, for normal numbers below 2^126.
    unsafe fn reciprocal(self) -> Self;
    /// Halves are added until one lane is left.
    unsafe fn sum(self) -> f32;
    /// The largest lane.
    unsafe fn largest(self) -> f32;
}

/// A loop over groups of 16 elements, of which the last may have fewer. The accumulator of a group is 0
/// or 1 in turns, known when compiled: two accumulators in an array stay in registers. A macro, since
/// the body of a closure would be compiled for the baseline instruction set.
macro_rules! pairs {
    (@visit $turn:literal, $elements:expr, $at:ident, |$index:ident, $count:ident, $accumulator:ident| $body:block) => {
        let ($index, $count, $accumulator) = ($at, $elements, $turn);
        $body
        $at += $crate::backend::cpu::kernels::vector::LANES;
    };
    ($len:expr, |$index:ident, $count:ident, $accumulator:ident| $body:block) => {{
        const LANES: usize = $crate::backend::cpu::kernels::vector::LANES;
        let len: usize = $len;
        let mut at = 0;
        while at + 2 * LANES <= len {
            pairs!(@visit 0, LANES, at, |$index, $count, $accumulator| $body);
            pairs!(@visit 1, LANES, at, |$index, $count, $accumulator| $body);
        }
        if at + LANES <= len {
            pairs!(@visit 0, LANES, at, |$index, $count, $accumulator| $body);
            if at < len {
                pairs!(@visit 1, len - at, at, |$index, $count, $accumulator| $body);
            }
        } else if at < len {
            pairs!(@visit 0, len - at, at, |$index, $count, $accumulator| $body);
        }
        let _ = at;
    }};
}
pub(crate) use pairs;

/// The first elements of groups of 16, and how many each has.
pub(crate) fn groups(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(LANES).map(move |index| (index, LANES.min(len - index)))
}

/// Loads 16 or fewer elements.
///
/// # Safety
/// `from` is valid for `count` elements, at most 16; and as [`Vector`].
#[inline(always)]
pub(crate) unsafe fn load<V: Vector>(from: *const f32, count: usize, fill: f32) -> V {
    // SAFETY: what the caller vouches for.
    unsafe { if count == LANES { V::load(from) } else { V::load_first(from, count, fill) } }
}

/// Stores 16 or fewer elements.
///
/// # Safety
/// `to` is valid for `count` elements, at most 16; and as [`Vector`].
#[inline(always)]
pub(crate) unsafe fn store<V: Vector>(value: V, to: *mut f32, count: usize) {
    // SAFETY: what the caller vouches for.
    unsafe { if count == LANES { value.store(to) } else { value.store_first(to, count) } }
}

/// Compiles a generic `unsafe fn NAME<V: Vector>(...)` for each instruction set and gives a function
/// that calls the right one. The generic must be `#[inline(always)]` and safe once its instruction
/// set is there.
macro_rules! vectorised {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $generic:ident;)*) => {$(
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::backend::cpu::kernels::{isa::Isa, vector::{Avx2, Avx512}};

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: compiled for this instruction set.
                    unsafe { $generic::<Avx512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: compiled for this instruction set.
                    unsafe { $generic::<Avx2>($($arg),*) }
                }
                match Isa::current() {
                    // SAFETY: `Isa::current` is at most what the processor was found to have.
                    Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    Isa::Portable => {}
                }
            }
            // SAFETY: needs no instruction set.
            unsafe { $generic::<$crate::backend::cpu::kernels::vector::Portable>($($arg),*) }
        }
    )*};
}
pub(crate) use vectorised;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    #[inline(always)]
    unsafe fn every_operation<V: Vector>(x: &[f32], y: &[f32], count: usize, out: &mut [f32]) {
        assert!(x.len() >= LANES && y.len() >= LANES && out.len() == 16 * LANES + 2);
        // SAFETY: all pointers have sixteen elements after them.
        unsafe {
            let (a, b) = (V::load(x.as_ptr()), V::load(y.as_ptr()));
            let results = [
                V::splat(x[3]),
                V::load_first(x.as_ptr(), count, 7.0),
                a.add(b),
                a.sub(b),
                a.mul(b),
                a.mul_add(b, V::splat(0.25)),
                a.larger(b),
                a.times_power_of_two(V::splat(-2.5)),
                a.mul(V::splat(50.0)).fraction(),
                a.times_power_of_two(V::splat(f32::NEG_INFINITY)),
                a.zero_below(b, V::splat(0.0)),
                a.keep(0b1010_0000_1111_0011),
                a.with_sign_of(b),
                a.abs(),
                a.abs().add(V::splat(0.1)).reciprocal(),
            ];
            for (i, result) in results.iter().enumerate() {
                result.store(out.as_mut_ptr().add(i * LANES));
            }
            a.store_first(out.as_mut_ptr().add(15 * LANES), count);
            out[16 * LANES] = a.sum();
            out[16 * LANES + 1] = a.largest();
        }
    }

    vectorised! {
        fn run(x: &[f32], y: &[f32], count: usize, out: &mut [f32]) = every_operation;
    }

    #[test]
    fn every_operation_on_each_isa() {
        let (x, y) = (noise(1, LANES), noise(2, LANES));
        on_each_isa(|isa| {
            for count in 0..=LANES {
                let mut out = vec![9.0; 16 * LANES + 2];
                run(&x, &y, count, &mut out);
                let check = |index: usize, expected: &dyn Fn(usize) -> f32| {
                    for lane in 0..LANES {
                        let (actual, expected) = (out[index * LANES + lane], expected(lane));
                        let tolerance = 2e-7 * expected.abs();
                        assert!((actual - expected).abs() <= tolerance, "{isa:?} {index} {lane}: {actual} {expected}");
                    }
                };
                check(0, &|_| x[3]);
                check(1, &|i| if i < count { x[i] } else { 7.0 });
                check(2, &|i| x[i] + y[i]);
                check(3, &|i| x[i] - y[i]);
                check(4, &|i| x[i] * y[i]);
                check(5, &|i| (f64::from(x[i]) * f64::from(y[i]) + 0.25) as f32);
                check(6, &|i| x[i].max(y[i]));
                check(7, &|i| x[i] / 8.0);
                check(8, &|i| (50.0 * x[i]) - (50.0 * x[i]).floor());
                check(9, &|_| 0.0);
                check(10, &|i| if y[i] < 0.0 { 0.0 } else { x[i] });
                check(11, &|i| if 0b1010_0000_1111_0011 >> i & 1 == 1 { x[i] } else { 0.0 });
                check(12, &|i| x[i].copysign(y[i]));
                check(13, &|i| x[i].abs());
                check(14, &|i| 1.0 / (x[i].abs() + 0.1));
                check(15, &|i| if i < count { x[i] } else { 9.0 });
                let sum: f64 = x.iter().map(|&x| f64::from(x)).sum();
                assert!((f64::from(out[16 * LANES]) - sum).abs() < 1e-6, "{isa:?}");
                assert_eq!(out[16 * LANES + 1], x.iter().copied().fold(f32::MIN, f32::max), "{isa:?}");
            }
        });
    }

    #[test]
    fn avx2_and_avx512_give_the_same_bits() {
        use crate::backend::cpu::kernels::isa::Isa;
        let (x, y) = (noise(3, LANES), noise(4, LANES));
        let mut first: Option<Vec<f32>> = None;
        on_each_isa(|isa| {
            let mut out = vec![9.0; 16 * LANES + 2];
            run(&x, &y, 11, &mut out);
            if isa > Isa::Portable {
                assert_eq!(first.get_or_insert_with(|| out.clone()), &out, "{isa:?}");
            }
        });
    }
}
