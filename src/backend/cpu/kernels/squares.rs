//! Sums of squares of long vectors.

use super::{isa::multiversion, lanes::sum_by};

/// Elements whose squares are added in float32. The sums of blocks are added in float64, so that long vectors lose no
/// precision.
const BLOCK: usize = 4096;

#[inline(always)]
fn of_block_generic<const FMA: bool>(x: &[f32]) -> f32 {
    sum_by(x.len(), |i| x[i] * x[i])
}

multiversion! {
    fn of_block(x: &[f32]) -> f32 = of_block_generic;
}

/// The sum of the squares of all elements, in an order that depends on their number alone.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    x.chunks(BLOCK).map(|block| f64::from(of_block(block))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    #[test]
    fn as_in_f64() {
        on_each_isa(|isa| {
            for len in [0, 1, 31, 4096, 4097, 100_003] {
                let x = noise(1, len);
                let expected: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                let actual = sum_of_squares(&x);
                assert!((actual - expected).abs() <= 1e-6 * expected, "{isa:?} {len}: {actual}, not {expected}");
            }
        });
    }
}
