//! Scaled dot-product attention of one image, all heads, fused (Vaswani et al. 2017).
//!
//! For each head: `S = Q·Kᵀ / sqrt(key_dim)`, `P = softmax(S)` by rows, dropout on `P`, `O = P·V`. A
//! block of rows goes through all of it before the next, so that its scores stay in the first-level
//! cache; K and V are packed once for all blocks. What a softmax divides by is applied to O, which is
//! narrower than P.
//!
//! The backward pass computes S again, and P from it in one step: forward keeps the largest score and the
//! sum of each row, and the bits of the dropout (Dao et al., "FlashAttention", 2022).

use std::f32::consts::LOG2_E;

use super::dropout::{self, Mask};
use super::exp::exp2;
use super::gemm::{self, ALIGNMENT, Epilogue, MR, Mat, gemm, gemm_packed};
use super::vector::{self, LANES, Vector, groups, pairs, vectorised};
use super::{softmax, stream};

/// Rows that go through a head together.
const BLOCK: usize = 2 * MR;

/// Shapes of one image's attention. `q` is `[tokens, heads · key_dim]`, `k` `[sources, heads ·
/// key_dim]`, `v` `[sources, heads · value_dim]`, the output `[tokens, heads · value_dim]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    pub tokens: usize,
    pub sources: usize,
    pub heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    /// Dropout on the weights, whose elements are counted over `[batch, heads, tokens, sources]`.
    pub mask: Option<Mask>,
    /// Index of the image in the batch.
    pub image: usize,
}

impl Attention {
    /// Length of [`Attention::forward`]'s scratch.
    #[must_use]
    pub fn forward_scratch_len(&self) -> usize {
        let Self { sources, key_dim, value_dim, .. } = *self;
        let packed = gemm::packed_len(key_dim, sources) + gemm::packed_len(sources, value_dim);
        BLOCK * sources + packed + ALIGNMENT
    }

    /// Length of [`Attention::backward`]'s scratch.
    #[must_use]
    pub fn backward_scratch_len(&self) -> usize {
        let Self { tokens, sources, key_dim, value_dim, .. } = *self;
        let products = [value_dim, key_dim].map(|width| gemm::scratch_len(sources, width, tokens));
        let packed = gemm::packed_len(value_dim, sources)
            + gemm::packed_len(sources, key_dim)
            + gemm::packed_len(key_dim, sources);
        2 * tokens * sources + packed + products[0].max(products[1]) + ALIGNMENT
    }

    /// Length of what [`Attention::forward`] keeps for [`Attention::backward`].
    #[must_use]
    pub fn kept_len(&self, dropout: bool) -> usize {
        self.heads * self.tokens.div_ceil(BLOCK) * self.kept_block_len(dropout)
    }

    fn kept_block_len(&self, dropout: bool) -> usize {
        let bits = if dropout { dropout::keep_bits_len(BLOCK * self.sources).div_ceil(size_of::<f32>()) } else { 0 };
        2 * BLOCK + bits
    }

    /// Index of the first weight of a head's row, in the tensor of the whole batch.
    fn first_weight(&self, head: usize, row: usize) -> u64 {
        let Self { tokens, sources, heads, image, .. } = *self;
        (((image * heads + head) * tokens + row) * sources) as u64
    }

    /// What a score's distance from the largest is multiplied by to be the exponent of a power of two.
    fn scale(&self) -> f32 {
        LOG2_E / (self.key_dim as f32).sqrt()
    }

    fn check(&self, q: &[f32], k: &[f32], v: &[f32], out: &[f32], kept: &[f32]) {
        let Self { tokens, sources, heads, key_dim, value_dim, .. } = *self;
        assert_eq!(q.len(), tokens * heads * key_dim, "q");
        assert_eq!(k.len(), sources * heads * key_dim, "k");
        assert_eq!(v.len(), sources * heads * value_dim, "v");
        assert_eq!(out.len(), tokens * heads * value_dim, "output");
        assert_eq!(kept.len(), self.kept_len(self.mask.is_some()), "kept");
    }

    /// `out = dropout(softmax(Q·Kᵀ / sqrt(key_dim)))·V`. `kept` receives what [`Attention::backward`] needs
    /// besides, [`Attention::kept_len`] elements, and so does `copy`, unless it is empty, what `out` does: it is stored
    /// past the cache, see [`stream`].
    ///
    /// # Panics
    /// When a slice does not have its length.
    pub fn forward(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        out: &mut [f32],
        copy: &mut [f32],
        kept: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.check(q, k, v, out, kept);
        assert!(copy.is_empty() || copy.len() == out.len(), "copy");
        let Self { tokens, sources, heads, key_dim, value_dim, .. } = *self;
        let (keys, values) = (heads * key_dim, heads * value_dim);
        let (packed_k, scratch) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(key_dim, sources));
        let (packed_v, scratch) = scratch.split_at_mut(gemm::packed_len(sources, value_dim));
        let mut kept = kept.chunks_exact_mut(self.kept_block_len(self.mask.is_some()));
        for head in 0..heads {
            gemm::pack_b(key_dim, sources, Mat::transposed(&k[head * key_dim..], keys), packed_k);
            gemm::pack_b(sources, value_dim, Mat::rows(&v[head * value_dim..], values), packed_v);
            for (first, kept) in (0..tokens).step_by(BLOCK).zip(&mut kept) {
                let rows = BLOCK.min(tokens - first);
                let weights = &mut scratch[..rows * sources];
                let q = Mat::rows(&q[first * keys + head * key_dim..], keys);
                gemm_packed(rows, sources, key_dim, q, packed_k, weights, sources, &Epilogue::default());
                weigh(self, self.first_weight(head, first), weights, kept);
                let from = first * values + head * value_dim;
                let out = &mut out[from..];
                let copy = if copy.is_empty() { &mut [] } else { &mut copy[from..] };
                let weights = Mat::rows(weights, sources);
                gemm_packed(rows, value_dim, sources, weights, packed_v, out, values, &Epilogue::default());
                let (_, factors, _) = kept_parts(kept);
                normalise(value_dim, values, &factors[..rows], out, copy);
            }
        }
        if !copy.is_empty() {
            stream::finish();
        }
    }

    /// Gradients by `q`, `k` and `v`, which are overwritten, from the gradient `dout` by the output `out`.
    ///
    /// With `D` the dropout factors: `dV = (P·D)ᵀ·dO`; `dP = (dO·Vᵀ)·D`; `dS = P·(dP - Σ P·dP)` by
    /// rows, where `Σ P·dP = Σ dO·O`; `dQ = dS·K / sqrt(key_dim)`; `dK = dSᵀ·Q / sqrt(key_dim)`.
    ///
    /// # Panics
    /// When a slice does not have its length.
    pub fn backward(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        out: &[f32],
        kept: &[f32],
        dout: &[f32],
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.check(q, k, v, dout, kept);
        self.check(dq, dk, dv, out, kept);
        let Self { tokens, sources, heads, key_dim, value_dim, .. } = *self;
        let (keys, values) = (heads * key_dim, heads * value_dim);
        let (packed_v, scratch) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(value_dim, sources));
        let (packed_k, scratch) = scratch.split_at_mut(gemm::packed_len(sources, key_dim));
        let (packed_kt, scratch) = scratch.split_at_mut(gemm::packed_len(key_dim, sources));
        let (weights, scratch) = scratch.split_at_mut(tokens * sources);
        let (grad, scratch) = scratch.split_at_mut(tokens * sources);
        let mut kept = kept.chunks_exact(self.kept_block_len(self.mask.is_some()));
        for head in 0..heads {
            let k_head = &k[head * key_dim..];
            gemm::pack_b(value_dim, sources, Mat::transposed(&v[head * value_dim..], values), packed_v);
            gemm::pack_b(sources, key_dim, Mat::rows(k_head, keys), packed_k);
            gemm::pack_b(key_dim, sources, Mat::transposed(k_head, keys), packed_kt);
            for (first, kept) in (0..tokens).step_by(BLOCK).zip(&mut kept) {
                let rows = BLOCK.min(tokens - first);
                let part = first * sources..(first + rows) * sources;
                let (grad, weights) = (&mut grad[part.clone()], &mut weights[part]);
                let q = Mat::rows(&q[first * keys + head * key_dim..], keys);
                gemm_packed(rows, sources, key_dim, q, packed_kt, weights, sources, &Epilogue::default());
                let from = first * values + head * value_dim;
                let (out, dout) = (&out[from..], &dout[from..]);
                let dout_rows = Mat::rows(dout, values);
                gemm_packed(rows, sources, value_dim, dout_rows, packed_v, grad, sources, &Epilogue::default());
                differentiate(self, self.first_weight(head, first), kept, out, dout, weights, grad);
                let dq = &mut dq[first * keys + head * key_dim..];
                let grad = Mat::rows(grad, sources);
                gemm_packed(rows, key_dim, sources, grad, packed_k, dq, keys, &Epilogue::default());
            }
            let weights = Mat::transposed(weights, sources);
            let dout = Mat::rows(&dout[head * value_dim..], values);
            gemm(sources, value_dim, tokens, weights, dout, &mut dv[head * value_dim..], values, false, scratch);
            let (grad, q) = (Mat::transposed(grad, sources), Mat::rows(&q[head * key_dim..], keys));
            gemm(sources, key_dim, tokens, grad, q, &mut dk[head * key_dim..], keys, false, scratch);
        }
    }
}

/// The parts of what is kept of a block of rows: the largest score of each, what its powers are multiplied by, and
/// the bits of the dropout.
fn kept_parts(kept: &[f32]) -> (&[f32], &[f32], &[u8]) {
    let (largest, rest) = kept.split_at(BLOCK);
    let (factors, bits) = rest.split_at(BLOCK);
    (largest, factors, bytemuck::cast_slice(bits))
}

#[inline(always)]
unsafe fn weigh_generic<V: Vector>(attention: &Attention, first: u64, scores: &mut [f32], kept: &mut [f32]) {
    let sources = attention.sources;
    let rows = scores.len() / sources;
    assert!(scores.len().is_multiple_of(sources) && rows <= BLOCK);
    let (largest, rest) = kept.split_at_mut(BLOCK);
    let (factors, bits) = rest.split_at_mut(BLOCK);
    let bits: &mut [u8] = bytemuck::cast_slice_mut(bits);
    let mask = attention.mask.as_ref();
    let skip = mask.map_or(0, |mask| dropout::keep_bits(mask, first, scores.len(), bits));
    let dropout_scale = mask.map_or(1.0, |mask| mask.scale);
    // SAFETY: rows lie inside the slices, and the caller has the instruction set.
    unsafe {
        softmax::row_largest::<V>(sources, scores.as_ptr(), &mut largest[..rows]);
        let scale = V::splat(attention.scale());
        for (row, factor) in factors[..rows].iter_mut().enumerate() {
            let first = row * sources;
            let largest = V::splat(largest[row]);
            let scores = scores.as_mut_ptr().add(first);
            let mut sums = [V::splat(0.0); 2];
            pairs!(sources, |j, count, turn| {
                let score = vector::load::<V>(scores.add(j), count, f32::NEG_INFINITY);
                let mut power = exp2(score.sub(largest).mul(scale));
                sums[turn] = sums[turn].add(power);
                if mask.is_some() {
                    power = power.keep(dropout::sixteen(bits, skip + first + j));
                }
                vector::store(power, scores.add(j), count);
            });
            *factor = dropout_scale / sums[0].add(sums[1]).sum();
        }
    }
}

#[inline(always)]
unsafe fn normalise_generic<V: Vector>(width: usize, ld: usize, factors: &[f32], out: &mut [f32], copy: &mut [f32]) {
    let streams = stream::aligned(copy) && ld.is_multiple_of(LANES);
    for (row, factor) in factors.iter().enumerate() {
        let out = &mut out[row * ld..][..width];
        let copy = if copy.is_empty() { &mut [] } else { &mut copy[row * ld..][..width] };
        for (j, count) in groups(width) {
            // SAFETY: inside the row, and the caller has the instruction set.
            unsafe {
                let out = out.as_mut_ptr().add(j);
                let value = vector::load::<V>(out, count, 0.0).mul(V::splat(*factor));
                vector::store(value, out, count);
                if !copy.is_empty() {
                    let copy = copy.as_mut_ptr().add(j);
                    if streams && count == LANES { value.stream(copy) } else { vector::store(value, copy, count) }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn differentiate_generic<V: Vector>(
    attention: &Attention,
    first: u64,
    kept: &[f32],
    out: &[f32],
    dout: &[f32],
    weights: &mut [f32],
    grad: &mut [f32],
) {
    let Attention { sources, heads, value_dim, .. } = *attention;
    let (rows, ld) = (weights.len() / sources, heads * value_dim);
    assert!(weights.len().is_multiple_of(sources) && rows <= BLOCK && grad.len() == weights.len());
    let (largest, factors, bits) = kept_parts(kept);
    let mask = attention.mask.as_ref();
    let skip = dropout::first_bit(first);
    let dropout_scale = mask.map_or(1.0, |mask| mask.scale);
    let mut inner = [0.0; BLOCK];
    for (row, inner) in inner[..rows].iter_mut().enumerate() {
        let (out, dout) = (&out[row * ld..][..value_dim], &dout[row * ld..][..value_dim]);
        // SAFETY: inside the rows, and the caller has the instruction set.
        unsafe {
            let mut sums = [V::splat(0.0); 2];
            pairs!(value_dim, |j, count, turn| {
                let out = vector::load::<V>(out.as_ptr().add(j), count, 0.0);
                sums[turn] = out.mul_add(vector::load(dout.as_ptr().add(j), count, 0.0), sums[turn]);
            });
            *inner = sums[0].add(sums[1]).sum();
        }
    }
    // SAFETY: rows lie inside the slices, and the caller has the instruction set.
    unsafe {
        let scale = V::splat(attention.scale());
        // The weights below have the scale of the dropout in them, so that `dP` needs it no more.
        let slope = 1.0 / (attention.key_dim as f32).sqrt();
        for row in 0..rows {
            let first = row * sources;
            let (weights, grad) = (weights.as_mut_ptr().add(first), grad.as_mut_ptr().add(first));
            let (largest, factor) = (V::splat(largest[row]), V::splat(factors[row]));
            let (slope, inner) = (V::splat(slope), V::splat(-inner[row] * slope / dropout_scale));
            for (j, count) in groups(sources) {
                let score = vector::load::<V>(weights.add(j), count, f32::NEG_INFINITY);
                let weight = exp2(score.sub(largest).mul(scale)).mul(factor);
                let (mut kept, mut g) = (weight, vector::load::<V>(grad.add(j), count, 0.0));
                if mask.is_some() {
                    let bits = dropout::sixteen(bits, skip + first + j);
                    (kept, g) = (kept.keep(bits), g.keep(bits));
                }
                vector::store(kept, weights.add(j), count);
                vector::store(weight.mul(g.mul_add(slope, inner)), grad.add(j), count);
            }
        }
    }
}

vectorised! {
    /// From the scores of a block of rows to powers, in place, of which a row's sum would make a softmax;
    /// then dropout. `kept` receives what is kept.
    fn weigh(attention: &Attention, first: u64, scores: &mut [f32], kept: &mut [f32]) = weigh_generic;
    /// Multiplies rows of `width` elements, `ld` apart, by their factors, also into a copy.
    fn normalise(width: usize, ld: usize, factors: &[f32], out: &mut [f32], copy: &mut [f32]) = normalise_generic;
    /// From the scores, what forward kept and the gradient by the dropped weights: the dropped weights and
    /// the gradient by the unscaled scores, each in place.
    fn differentiate(
        attention: &Attention, first: u64, kept: &[f32], out: &[f32], dout: &[f32], weights: &mut [f32], grad: &mut [f32],
    ) = differentiate_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{assert_close, noise, on_each_isa};
    use crate::random::{Philox, Stream};

    /// Everything in f64 and by the definition.
    struct Reference {
        out: Vec<f64>,
        dq: Vec<f64>,
        dk: Vec<f64>,
        dv: Vec<f64>,
    }

    fn reference(a: &Attention, q: &[f32], k: &[f32], v: &[f32], dout: &[f32]) -> Reference {
        let Attention { tokens, sources, heads, key_dim, value_dim, .. } = *a;
        let (keys, values) = (heads * key_dim, heads * value_dim);
        let mut r = Reference {
            out: vec![0.0; tokens * values],
            dq: vec![0.0; q.len()],
            dk: vec![0.0; k.len()],
            dv: vec![0.0; v.len()],
        };
        let scale = 1.0 / (key_dim as f64).sqrt();
        for h in 0..heads {
            for i in 0..tokens {
                let qi = |d: usize| i * keys + h * key_dim + d;
                let kj = |j: usize, d: usize| j * keys + h * key_dim + d;
                let vj = |j: usize, d: usize| j * values + h * value_dim + d;
                let oi = |d: usize| i * values + h * value_dim + d;
                let score = |j| (0..key_dim).map(|d| f64::from(q[qi(d)]) * f64::from(k[kj(j, d)])).sum::<f64>() * scale;
                let e: Vec<f64> = (0..sources).map(|j| score(j).exp()).collect();
                let sum: f64 = e.iter().sum();
                let p: Vec<f64> = e.iter().map(|e| e / sum).collect();
                let factor = |j| {
                    let element = (((a.image * heads + h) * tokens + i) * sources + j) as u64;
                    a.mask.map_or(1.0, |mask| f64::from(mask.factor(element)))
                };
                let mut dp = vec![0.0; sources];
                for j in 0..sources {
                    for d in 0..value_dim {
                        r.out[oi(d)] += p[j] * factor(j) * f64::from(v[vj(j, d)]);
                        r.dv[vj(j, d)] += p[j] * factor(j) * f64::from(dout[oi(d)]);
                        dp[j] += factor(j) * f64::from(dout[oi(d)]) * f64::from(v[vj(j, d)]);
                    }
                }
                let inner: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
                for j in 0..sources {
                    let ds = p[j] * (dp[j] - inner) * scale;
                    for d in 0..key_dim {
                        r.dq[qi(d)] += ds * f64::from(k[kj(j, d)]);
                        r.dk[kj(j, d)] += ds * f64::from(q[qi(d)]);
                    }
                }
            }
        }
        r
    }

    #[test]
    fn against_f64() {
        let mask = Mask::new(Philox::new(5, Stream::Dropout), 2, 77, 0.25);
        on_each_isa(|isa| {
            for (tokens, sources, heads, key_dim, value_dim) in
                [(1, 1, 1, 1, 1), (3, 2, 2, 7, 5), (17, 17, 3, 8, 8), (33, 17, 1, 65, 3), (65, 65, 2, 16, 16)]
            {
                for mask in [None, Some(mask)] {
                    let a = Attention { tokens, sources, heads, key_dim, value_dim, mask, image: 3 };
                    let what = format!("{isa:?} {a:?}");
                    let q = noise(1, tokens * heads * key_dim);
                    let k = noise(2, sources * heads * key_dim);
                    let v = noise(3, sources * heads * value_dim);
                    let dout = noise(4, tokens * heads * value_dim);
                    let expected = reference(&a, &q, &k, &v, &dout);

                    let mut scratch = vec![f32::NAN; a.forward_scratch_len()];
                    let mut out = vec![0.0; dout.len()];
                    let mut kept = vec![f32::NAN; a.kept_len(mask.is_some())];
                    a.forward(&q, &k, &v, &mut out, &mut [], &mut kept, &mut scratch);
                    assert_close(&out, &expected.out, 5e-6, &what);
                    let mut copy = vec![f32::NAN; out.len()];
                    a.forward(&q, &k, &v, &mut out, &mut copy, &mut kept, &mut scratch);
                    assert_eq!(out, copy, "{what}");

                    let mut scratch = vec![f32::NAN; a.backward_scratch_len()];
                    let [mut dq, mut dk, mut dv] = [&q, &k, &v].map(|x| vec![9.0; x.len()]);
                    a.backward(&q, &k, &v, &out, &kept, &dout, &mut dq, &mut dk, &mut dv, &mut scratch);
                    assert_close(&dq, &expected.dq, 1e-5, &what);
                    assert_close(&dk, &expected.dk, 1e-5, &what);
                    assert_close(&dv, &expected.dv, 1e-5, &what);
                }
            }
        });
    }
}
