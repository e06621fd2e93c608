//! The exponential function, in a form that compilers vectorise.

use super::isa::{madd, multiversion};
use super::vector::Vector;

/// Above this, the result is infinite: `ln(f32::MAX)` rounded up.
const OVERFLOW: f32 = 88.722_84;
/// Below this, the result is zero: results that would be subnormal are flushed.
const UNDERFLOW: f32 = -87.336_54;

/// Adding 1.5·2^23 rounds to an integer and leaves it in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first with few bits.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// `(e^r - 1 - r) / r²` for `|r| ≤ ln 2 / 2`, highest power first.
const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// `e^r` and `n` with `e^x = e^r · 2^n`, for `x` between the bounds above.
#[inline(always)]
fn reduced<const FMA: bool>(x: f32) -> (f32, i32) {
    let shifted = madd::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FMA>(n, -LN_2[0], x);
    let r = madd::<FMA>(n, -LN_2[1], r);
    let p = POLYNOMIAL[1..].iter().fold(POLYNOMIAL[0], |p, &c| madd::<FMA>(p, r, c));
    let p = madd::<FMA>(p, r * r, r) + 1.0;
    (p, (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32))
}

/// `e^x` within 2 ulp where the result is a normal number; zero below, infinity above, NaN for NaN.
///
/// `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2` (Cody & Waite, ln 2 in two parts), a polynomial of degree
/// 6 for `e^r` (coefficients of Cephes' `expf`, S. Moshier 1989), and `n` added to the exponent.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let (p, n) = reduced::<FMA>(x.clamp(UNDERFLOW, OVERFLOW));
    // n may be 128 just below the overflow: halving it keeps both powers of two finite.
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let result = p * power(half) * power(n - half);
    let result = if x < UNDERFLOW { 0.0 } else { result };
    // A comparison with NaN is false: clamp let it through, and so did the polynomial.
    if x > OVERFLOW { f32::INFINITY } else { result }
}

/// `(2^r - 1) / r` for `0 ≤ r < 1`, highest power first, fitted by Lawson's method to a relative error of
/// 2e-9 of `2^r`.
const POLYNOMIAL_2: [f32; 6] = [2.161_291_6e-4, 1.246_784_6e-3, 9.675_452e-3, 5.548_528e-2, 0.240_229_3, 0.693_147_06];

/// `2^x` of `x < 128`, sixteen at a time: within 1.5 ulp, zero where the result would be subnormal.
/// Who wants `e^x` scales by `log2(e)`, which can often join another factor.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(crate) unsafe fn exp2<V: Vector>(x: V) -> V {
    // SAFETY: what the caller vouches for.
    unsafe {
        let r = x.fraction();
        // Written out: a closure would be compiled for the baseline instruction set.
        let mut p = V::splat(POLYNOMIAL_2[0]);
        p = p.mul_add(r, V::splat(POLYNOMIAL_2[1]));
        p = p.mul_add(r, V::splat(POLYNOMIAL_2[2]));
        p = p.mul_add(r, V::splat(POLYNOMIAL_2[3]));
        p = p.mul_add(r, V::splat(POLYNOMIAL_2[4]));
        p = p.mul_add(r, V::splat(POLYNOMIAL_2[5]));
        p = p.mul_add(r, V::splat(1.0));
        p.times_power_of_two(x)
    }
}

#[inline(always)]
fn exp_generic<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = exp::<FMA>(x);
    }
}

multiversion! {
    /// `y = e^x`, element by element, within 2 ulp; results below the smallest normal number are 0.
    pub fn exp_slice(x: &[f32], y: &mut [f32]) = exp_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::{
        isa::tests::on_each_isa,
        vector::{self, groups, vectorised},
    };

    #[test]
    fn two_ulp() {
        on_each_isa(|isa| {
            let x: Vec<f32> = (0..400_001).map(|i| -87.3 + i as f32 * (88.72 + 87.3) / 400_000.0).collect();
            let mut y = vec![0.0; x.len()];
            exp_slice(&x, &mut y);
            let mut worst = 0.0_f64;
            for (&x, &y) in x.iter().zip(&y) {
                let exact = f64::from(x).exp();
                let ulp = f64::from(y.next_up()) - f64::from(y);
                worst = worst.max((f64::from(y) - exact).abs() / ulp);
            }
            assert!(worst <= 2.0, "{isa:?}: {worst} ulp");
        });
    }

    #[inline(always)]
    unsafe fn powers_of_two<V: Vector>(x: &[f32], y: &mut [f32]) {
        for (i, count) in groups(x.len()) {
            // SAFETY: both have that many elements; the caller has the instruction set.
            unsafe {
                vector::store(exp2(vector::load::<V>(x.as_ptr().add(i), count, 0.0)), y.as_mut_ptr().add(i), count)
            }
        }
    }

    vectorised! {
        fn run_exp2(x: &[f32], y: &mut [f32]) = powers_of_two;
    }

    #[test]
    fn exp2_ulps_and_ends() {
        on_each_isa(|isa| {
            let mut x: Vec<f32> = (0..400_001).map(|i| -126.0 + i as f32 * 252.9 / 400_000.0).collect();
            x.extend([f32::NEG_INFINITY, -1e30, -126.1, f32::NAN]);
            let mut y = vec![7.0; x.len()];
            run_exp2(&x, &mut y);
            let end = x.len() - 4;
            for (&x, &y) in x[..end].iter().zip(&y) {
                let ulp = f64::from(y.next_up()) - f64::from(y);
                let error = (f64::from(y) - f64::from(x).exp2()).abs() / ulp;
                assert!(error <= 1.5, "{isa:?}: 2^{x} is off by {error} ulp");
            }
            assert_eq!(y[end..end + 3], [0.0; 3], "{isa:?}");
            assert!(y[end + 3].is_nan(), "{isa:?}");
        });
    }

    #[test]
    fn ends() {
        on_each_isa(|isa| {
            let x = [f32::NEG_INFINITY, -1e30, -88.0, 0.0, -0.0, 88.8, 1e30, f32::INFINITY, f32::NAN];
            let mut y = [7.0; 9];
            exp_slice(&x, &mut y);
            assert_eq!(y[..8], [0.0, 0.0, 0.0, 1.0, 1.0, f32::INFINITY, f32::INFINITY, f32::INFINITY], "{isa:?}");
            assert!(y[8].is_nan(), "{isa:?}");
        });
    }
}
