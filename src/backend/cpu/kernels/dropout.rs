//! Dropout as a function of the element's address: the mask is computed, never stored.
//!
//! Element `i` of a tensor, counted over the whole batch, takes lane `i % 8` of sixteen bits from the
//! Philox block with counter `[i / 8 low, i / 8 high, stream, iteration]`; lane `l` is the low half
//! of word `l / 2` when `l` is even, else the high half. An element is dropped if its lane is below
//! the threshold.

mod keep;

use super::vector::{self, Vector, vectorised};
use crate::random::Philox;

/// Elements that share a Philox block.
const PER_BLOCK: usize = 8;

/// Which elements of one tensor are dropped in one iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mask {
    /// The generator of the training's seed.
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

/// Bytes that [`keep_bits`] needs for `len` elements: it writes whole groups, and readers take four bytes
/// at a time.
#[must_use]
pub fn keep_bits_len(len: usize) -> usize {
    (len + PER_BLOCK).next_multiple_of(keep::GROUP) / 8 + 4
}

/// Which of `len` elements from `first` on are kept, a bit each, from the returned bit on.
///
/// # Panics
/// When `bits` is shorter than [`keep_bits_len`].
pub fn keep_bits(mask: &Mask, first: u64, len: usize, bits: &mut [u8]) -> usize {
    assert!(bits.len() >= keep_bits_len(len), "too little room for the bits of a mask");
    let skip = first_bit(first);
    keep::bits(mask, first / PER_BLOCK as u64, (skip + len).div_ceil(keep::GROUP), bits);
    skip
}

/// What [`keep_bits`] returns for `first`.
#[must_use]
pub fn first_bit(first: u64) -> usize {
    (first % PER_BLOCK as u64) as usize
}

/// Sixteen bits from `bit` on.
#[inline(always)]
pub(crate) fn sixteen(bits: &[u8], bit: usize) -> u16 {
    let at = bit / 8;
    let word = u32::from_le_bytes([bits[at], bits[at + 1], bits[at + 2], bits[at + 3]]);
    (word >> (bit % 8)) as u16
}

/// Elements whose bits are computed at once, on the stack.
const CHUNK: usize = 8 * keep::GROUP;

#[inline(always)]
unsafe fn masked<V: Vector>(mask: &Mask, first: u64, len: usize, x: *const f32, y: *mut f32) {
    let mut bits = [0; CHUNK / 8 + keep::GROUP / 8 + 4];
    for start in (0..len).step_by(CHUNK) {
        let chunk = CHUNK.min(len - start);
        let skip = keep_bits(mask, first + start as u64, chunk, &mut bits);
        // SAFETY: the caller has `len` elements at `x` and `y`, and the instruction set.
        unsafe {
            let scale = V::splat(mask.scale);
            for i in (0..chunk).step_by(vector::LANES) {
                let count = vector::LANES.min(chunk - i);
                let value: V = vector::load(x.add(start + i), count, 0.0);
                vector::store(value.mul(scale).keep(sixteen(&bits, skip + i)), y.add(start + i), count);
            }
        }
    }
}

#[inline(always)]
unsafe fn apply_generic<V: Vector>(mask: &Mask, first: u64, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    // SAFETY: both have that many elements.
    unsafe { masked::<V>(mask, first, x.len(), x.as_ptr(), y.as_mut_ptr()) }
}

#[inline(always)]
unsafe fn apply_in_place_generic<V: Vector>(mask: &Mask, first: u64, x: &mut [f32]) {
    let pointer = x.as_mut_ptr();
    // SAFETY: each element is read before it is written.
    unsafe { masked::<V>(mask, first, x.len(), pointer, pointer) }
}

vectorised! {
    /// `y = x · mask`, where `x` starts at element `first` of the tensor. The same for the gradient:
    /// `dx = dy · mask`.
    pub fn apply(mask: &Mask, first: u64, x: &[f32], y: &mut [f32]) = apply_generic;
    /// `x = x · mask`.
    pub fn apply_in_place(mask: &Mask, first: u64, x: &mut [f32]) = apply_in_place_generic;
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
                        let mut bits = vec![0; keep_bits_len(len)];
                        let skip = keep_bits(&mask, first, len, &mut bits);
                        for i in 0..len {
                            let kept = sixteen(&bits, skip + i) & 1 == 1;
                            assert_eq!(
                                kept,
                                mask.factor(first + i as u64) != 0.0,
                                "{isa:?} {len} from {first}, {rate}"
                            );
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn drops_about_the_rate() {
        let mask = mask(0.3);
        let mut out = vec![1.0; 100_000];
        apply_in_place(&mask, 0, &mut out);
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
