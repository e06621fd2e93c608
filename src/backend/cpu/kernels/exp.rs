//! The exponential function, in a form that compilers vectorise.

use super::isa::{madd, multiversion};

/// Above this, the result is infinite: `ln(f32::MAX)` rounded up.
const OVERFLOW: f32 = 88.722_84;
/// Below this, the result is zero: results that would be subnormal are flushed.
const UNDERFLOW: f32 = -87.336_54;

/// `e^r` and `n` with `e^x = e^r · 2^n`, for `x` between the bounds above.
#[inline(always)]
fn reduced<const FMA: bool>(x: f32) -> (f32, i32) {
    // Adding 1.5·2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = madd::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FMA>(n, -0.693_359_4, x);
    let r = madd::<FMA>(n, 2.121_944_4e-4, r);
    let p = madd::<FMA>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = madd::<FMA>(p, r, 8.333_452e-3);
    let p = madd::<FMA>(p, r, 4.166_579_6e-2);
    let p = madd::<FMA>(p, r, 1.666_666_5e-1);
    let p = madd::<FMA>(p, r, 0.5);
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

/// [`exp`] of `x ≤ 0`, to the same bits: one power of two is enough, and nothing overflows.
#[inline(always)]
pub(crate) fn exp_at_most_one<const FMA: bool>(x: f32) -> f32 {
    let (p, n) = reduced::<FMA>(if x < UNDERFLOW { UNDERFLOW } else { x });
    let result = p * f32::from_bits((n.wrapping_add(127) as u32) << 23);
    if x < UNDERFLOW { 0.0 } else { result }
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
    use crate::backend::cpu::kernels::isa::tests::on_each_isa;

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
