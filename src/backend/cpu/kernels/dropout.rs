//! Dropout as a function of the element's address: the mask is computed, never stored.
//!
//! Element `i` of a tensor, counted over the whole batch, takes lane `i % 8` of sixteen bits from the
//! Philox block with counter `[i / 8 low, i / 8 high, stream, iteration]`; lane `l` is the low half
//! of word `l / 2` when `l` is even, else the high half. An element is dropped if its lane is below
//! the threshold.

use super::isa::multiversion;
use crate::random::{MULTIPLIERS, Philox, ROUNDS, WEYL};

/// Elements that share a Philox block.
const PER_BLOCK: usize = 8;
/// Blocks computed side by side: one vector of 64-bit lanes.
const BLOCKS: usize = 8;
/// Elements of a group of blocks.
const GROUP: usize = PER_BLOCK * BLOCKS;

/// Which elements of one tensor are dropped in one iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mask {
    pub philox: Philox,
    /// Tells the dropout operators of a model apart.
    pub stream: u32,
    /// Tells training steps apart.
    pub iteration: u32,
    /// Of 65536: how many lanes are dropped.
    pub threshold: u32,
    /// What kept elements are multiplied by: `65536 / (65536 - threshold)`.
    pub scale: f32,
}

impl Mask {
    /// A mask that drops `rate` of the elements, to the nearest 1/65536.
    ///
    /// # Panics
    /// Unless `0 <= rate < 1`.
    #[must_use]
    pub fn new(philox: Philox, stream: u32, iteration: u32, rate: f32) -> Self {
        assert!((0.0..1.0).contains(&rate), "dropout rate {rate}");
        let threshold = ((f64::from(rate) * 65536.0).round() as u32).min(65535);
        let scale = (65536.0 / f64::from(65536 - threshold)) as f32;
        Self { philox, stream, iteration, threshold, scale }
    }

    /// What an element is multiplied by: 0 or the scale. The definition, one element at a time.
    #[must_use]
    pub fn factor(&self, element: u64) -> f32 {
        let block = element / PER_BLOCK as u64;
        let words = self.philox.block([block as u32, (block >> 32) as u32, self.stream, self.iteration]);
        let lane = (element % PER_BLOCK as u64) as usize;
        let bits = words[lane / 2] >> (16 * (lane % 2)) & 0xFFFF;
        if bits < self.threshold { 0.0 } else { self.scale }
    }
}

/// The 16-bit lanes of [`BLOCKS`] blocks from `block` on.
///
/// Words are kept in 64-bit lanes whose upper halves may hold anything: the multiplier reads the
/// lower halves only, and its product holds both halves that Philox wants.
#[inline(always)]
fn lanes(mask: &Mask, block: u64) -> [u16; GROUP] {
    const LOW: u64 = 0xFFFF_FFFF;
    let mut c0 = [0_u64; BLOCKS];
    let mut c1 = [0_u64; BLOCKS];
    for i in 0..BLOCKS {
        c0[i] = block.wrapping_add(i as u64);
        c1[i] = c0[i] >> 32;
    }
    let mut c2 = [u64::from(mask.stream); BLOCKS];
    let mut c3 = [u64::from(mask.iteration); BLOCKS];
    let [mut k0, mut k1] = mask.philox.key;
    for _ in 0..ROUNDS {
        for i in 0..BLOCKS {
            let p0 = (c0[i] & LOW) * u64::from(MULTIPLIERS[0]);
            let p1 = (c2[i] & LOW) * u64::from(MULTIPLIERS[1]);
            c0[i] = (p1 >> 32) ^ c1[i] ^ u64::from(k0);
            c2[i] = (p0 >> 32) ^ c3[i] ^ u64::from(k1);
            c1[i] = p1;
            c3[i] = p0;
        }
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    let mut out = [0; GROUP];
    for i in 0..BLOCKS {
        let low = (c0[i] & LOW) | (c1[i] << 32);
        let high = (c2[i] & LOW) | (c3[i] << 32);
        for lane in 0..4 {
            out[PER_BLOCK * i + lane] = (low >> (16 * lane)) as u16;
            out[PER_BLOCK * i + 4 + lane] = (high >> (16 * lane)) as u16;
        }
    }
    out
}

/// Calls `visit(position, count, factors)` for the elements from `first` to `first + len`, where the
/// factors of `count` elements from `position` on start at the given index of the array.
#[inline(always)]
fn for_each_group(mask: &Mask, first: u64, len: usize, mut visit: impl FnMut(usize, &[f32])) {
    // Below the threshold as a comparison of 16 bits: a threshold of 65536 cannot occur.
    let threshold = mask.threshold as u16;
    let mut position = 0;
    let mut skip = (first % PER_BLOCK as u64) as usize;
    let mut block = first / PER_BLOCK as u64;
    while position < len {
        let lanes = lanes(mask, block);
        let mut factors = [0.0; GROUP];
        for i in 0..GROUP {
            factors[i] = if lanes[i] < threshold { 0.0 } else { mask.scale };
        }
        let count = (GROUP - skip).min(len - position);
        visit(position, &factors[skip..skip + count]);
        position += count;
        skip = 0;
        block = block.wrapping_add(BLOCKS as u64);
    }
}

#[inline(always)]
pub(crate) fn apply_in_place_inline<const FMA: bool>(mask: &Mask, first: u64, x: &mut [f32]) {
    for_each_group(mask, first, x.len(), |at, factors| multiply(factors, &mut x[at..at + factors.len()]));
}

#[inline(always)]
fn multiply(factors: &[f32], x: &mut [f32]) {
    if let (Ok(factors), Ok(x)) = (<&[f32; GROUP]>::try_from(factors), <&mut [f32; GROUP]>::try_from(&mut *x)) {
        for i in 0..GROUP {
            x[i] *= factors[i];
        }
    } else {
        for (x, factor) in x.iter_mut().zip(factors) {
            *x *= factor;
        }
    }
}

#[inline(always)]
fn apply_generic<const FMA: bool>(mask: &Mask, first: u64, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for_each_group(mask, first, x.len(), |at, factors| {
        let y = &mut y[at..at + factors.len()];
        y.copy_from_slice(&x[at..at + factors.len()]);
        multiply(factors, y);
    });
}

#[inline(always)]
pub(crate) fn factors_inline<const FMA: bool>(mask: &Mask, first: u64, out: &mut [f32]) {
    for_each_group(mask, first, out.len(), |at, factors| out[at..at + factors.len()].copy_from_slice(factors));
}

multiversion! {
    /// `y = x · mask`, where `x` starts at element `first` of the tensor. The same for the gradient:
    /// `dx = dy · mask`.
    pub fn apply(mask: &Mask, first: u64, x: &[f32], y: &mut [f32]) = apply_generic;
    /// `x = x · mask`.
    pub fn apply_in_place(mask: &Mask, first: u64, x: &mut [f32]) = apply_in_place_inline;
    /// The mask itself: [`Mask::factor`] of the elements from `first` on.
    pub fn factors(mask: &Mask, first: u64, out: &mut [f32]) = factors_inline;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};
    use crate::random::Stream;

    fn mask(rate: f32) -> Mask {
        Mask::new(Philox::new(7, Stream::Dropout), 3, 0x9ABC_DEF0, rate)
    }

    #[test]
    fn equals_the_definition() {
        on_each_isa(|isa| {
            for len in [1, 2, 7, 8, 33, 65, 130, 1000] {
                for first in [0, 1, 7, 8, 13, 144 * 17, (1 << 35) - 100] {
                    for rate in [0.0, 0.1, 0.5, 0.999_99] {
                        let mask = mask(rate);
                        let x = noise(1, len);
                        let expected: Vec<f32> =
                            x.iter().enumerate().map(|(i, x)| x * mask.factor(first + i as u64)).collect();
                        let mut y = vec![9.0; len];
                        apply(&mask, first, &x, &mut y);
                        assert_eq!(y, expected, "{isa:?} {len} from {first}, {rate}");
                        y.copy_from_slice(&x);
                        apply_in_place(&mask, first, &mut y);
                        assert_eq!(y, expected, "{isa:?} {len} from {first}, {rate}");
                        factors(&mask, first, &mut y);
                        assert!((0..len).all(|i| y[i] == mask.factor(first + i as u64)));
                    }
                }
            }
        });
    }

    #[test]
    fn drops_about_the_rate() {
        let mask = mask(0.3);
        let mut out = vec![0.0; 100_000];
        factors(&mask, 0, &mut out);
        let dropped = out.iter().filter(|&&f| f == 0.0).count() as f64 / 1e5;
        assert!((dropped - 0.3).abs() < 0.006, "{dropped}");
        let mean = out.iter().map(|&f| f64::from(f)).sum::<f64>() / 1e5;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn rate_zero_is_the_identity() {
        assert_eq!(mask(0.0).scale, 1.0);
        assert_eq!(mask(0.0).threshold, 0);
    }
}
