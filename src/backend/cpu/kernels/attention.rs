//! Scaled dot-product attention of one image, all heads, fused (Vaswani et al. 2017).
//!
//! For each head: `S = Q·Kᵀ / sqrt(key_dim)`, `P = softmax(S)` by rows, dropout on `P`, `O = P·V`. A
//! block of rows goes through all of it before the next, so that its scores stay in the first-level
//! cache; K and V are packed once for all blocks.

use super::dropout::{self, Mask};
use super::gemm::{self, Epilogue, MR, Mat, gemm, gemm_packed};
use super::softmax;
use super::vector::{self, Vector, groups, pairs, vectorised};

/// Rows that go through a head together.
const BLOCK: usize = 2 * MR;
/// Room to start on a cache line.
const ALIGNMENT: usize = 16;

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
        BLOCK * sources + self.bits_len() + packed + ALIGNMENT
    }

    /// Length of [`Attention::backward`]'s scratch.
    #[must_use]
    pub fn backward_scratch_len(&self) -> usize {
        let Self { tokens, sources, key_dim, value_dim, .. } = *self;
        let products = [value_dim, key_dim].map(|width| gemm::scratch_len(sources, width, tokens));
        let packed = gemm::packed_len(value_dim, sources)
            + gemm::packed_len(sources, key_dim)
            + gemm::packed_len(key_dim, sources);
        2 * self.scores() + BLOCK * sources + self.bits_len() + packed + products[0].max(products[1]) + ALIGNMENT
    }

    /// Floats whose memory holds the mask of a block of rows.
    fn bits_len(&self) -> usize {
        dropout::keep_bits_len(BLOCK * self.sources).div_ceil(size_of::<f32>())
    }

    /// Elements of one head's weights.
    fn scores(&self) -> usize {
        self.tokens * self.sources
    }

    fn scale(&self) -> f32 {
        1.0 / (self.key_dim as f32).sqrt()
    }

    /// Index of the first weight of a head's row, in the tensor of the whole batch.
    fn first_weight(&self, head: usize, row: usize) -> u64 {
        (self.image * self.heads + head) as u64 * self.scores() as u64 + (row * self.sources) as u64
    }

    fn check(&self, q: &[f32], k: &[f32], v: &[f32], out: &[f32]) {
        let Self { tokens, sources, heads, key_dim, value_dim, .. } = *self;
        assert_eq!(q.len(), tokens * heads * key_dim, "q");
        assert_eq!(k.len(), sources * heads * key_dim, "k");
        assert_eq!(v.len(), sources * heads * value_dim, "v");
        assert_eq!(out.len(), tokens * heads * value_dim, "output");
    }

    /// `out = dropout(softmax(Q·Kᵀ / sqrt(key_dim)))·V`.
    ///
    /// # Panics
    /// When a slice does not have its length.
    pub fn forward(&self, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        self.check(q, k, v, out);
        let Self { tokens, sources, heads, key_dim, value_dim, .. } = *self;
        let (keys, values) = (heads * key_dim, heads * value_dim);
        let (packed_k, scratch) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(key_dim, sources));
        let (packed_v, scratch) = scratch.split_at_mut(gemm::packed_len(sources, value_dim));
        let (scratch, bits) = scratch.split_at_mut(BLOCK * sources);
        let bits = bytemuck::cast_slice_mut(bits);
        for head in 0..heads {
            gemm::pack_b(key_dim, sources, Mat::transposed(&k[head * key_dim..], keys), packed_k);
            gemm::pack_b(sources, value_dim, Mat::rows(&v[head * value_dim..], values), packed_v);
            for first in (0..tokens).step_by(BLOCK) {
                let rows = BLOCK.min(tokens - first);
                let weights = &mut scratch[..rows * sources];
                let q = Mat::rows(&q[first * keys + head * key_dim..], keys);
                gemm_packed(rows, sources, key_dim, q, packed_k, weights, sources, &Epilogue::default());
                normalise(self, self.first_weight(head, first), weights, bits);
                let out = &mut out[first * values + head * value_dim..];
                let weights = Mat::rows(weights, sources);
                gemm_packed(rows, value_dim, sources, weights, packed_v, out, values, &Epilogue::default());
            }
        }
    }

    /// Gradients by `q`, `k` and `v`, which are overwritten, from the gradient `dout` by the output. The
    /// softmax is computed again, to the same bits: it would be most of what a step keeps in memory.
    ///
    /// With `D` the dropout factors: `dV = (P·D)ᵀ·dO`; `dP = (dO·Vᵀ)·D`; `dS = P·(dP - Σ P·dP)` by
    /// rows; `dQ = dS·K / sqrt(key_dim)`; `dK = dSᵀ·Q / sqrt(key_dim)`.
    ///
    /// # Panics
    /// When a slice does not have its length.
    pub fn backward(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        dout: &[f32],
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.check(q, k, v, dout);
        self.check(dq, dk, dv, dout);
        let Self { tokens, sources, heads, key_dim, value_dim, .. } = *self;
        let (keys, values) = (heads * key_dim, heads * value_dim);
        let (packed_v, scratch) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(value_dim, sources));
        let (packed_k, scratch) = scratch.split_at_mut(gemm::packed_len(sources, key_dim));
        let (packed_kt, scratch) = scratch.split_at_mut(gemm::packed_len(key_dim, sources));
        let (block, scratch) = scratch.split_at_mut(BLOCK * sources);
        let (bits, scratch) = scratch.split_at_mut(self.bits_len());
        let bits = bytemuck::cast_slice_mut(bits);
        let (dropped, scratch) = scratch.split_at_mut(self.scores());
        let (grad, scratch) = scratch.split_at_mut(self.scores());
        for head in 0..heads {
            let k_head = &k[head * key_dim..];
            gemm::pack_b(value_dim, sources, Mat::transposed(&v[head * value_dim..], values), packed_v);
            gemm::pack_b(sources, key_dim, Mat::rows(k_head, keys), packed_k);
            gemm::pack_b(key_dim, sources, Mat::transposed(k_head, keys), packed_kt);
            for first in (0..tokens).step_by(BLOCK) {
                let rows = BLOCK.min(tokens - first);
                let part = first * sources..(first + rows) * sources;
                let softmax = &mut block[..rows * sources];
                let q = Mat::rows(&q[first * keys + head * key_dim..], keys);
                gemm_packed(rows, sources, key_dim, q, packed_kt, softmax, sources, &Epilogue::default());
                normalise(&Self { mask: None, ..*self }, 0, softmax, bits);
                let (grad, dropped) = (&mut grad[part.clone()], &mut dropped[part]);
                let dout = Mat::rows(&dout[first * values + head * value_dim..], values);
                gemm_packed(rows, sources, value_dim, dout, packed_v, grad, sources, &Epilogue::default());
                differentiate(self, self.first_weight(head, first), softmax, dropped, grad, bits);
                let dq = &mut dq[first * keys + head * key_dim..];
                let grad = Mat::rows(grad, sources);
                gemm_packed(rows, key_dim, sources, grad, packed_k, dq, keys, &Epilogue::default());
            }
            let weights = Mat::transposed(dropped, sources);
            let dout = Mat::rows(&dout[head * value_dim..], values);
            gemm(sources, value_dim, tokens, weights, dout, &mut dv[head * value_dim..], values, false, scratch);
            let (grad, q) = (Mat::transposed(grad, sources), Mat::rows(&q[head * key_dim..], keys));
            gemm(sources, key_dim, tokens, grad, q, &mut dk[head * key_dim..], keys, false, scratch);
        }
    }
}

#[inline(always)]
unsafe fn normalise_generic<V: Vector>(attention: &Attention, first: u64, weights: &mut [f32], bits: &mut [u8]) {
    let sources = attention.sources;
    assert!(weights.len().is_multiple_of(sources) && weights.len() <= BLOCK * sources);
    let mask = attention.mask.as_ref();
    let skip = mask.map_or(0, |mask| dropout::keep_bits(mask, first, weights.len(), bits));
    let mut reciprocals = [0.0; BLOCK];
    let reciprocals = &mut reciprocals[..weights.len() / sources];
    // SAFETY: rows lie inside the slices, and the caller has the instruction set.
    unsafe {
        softmax::exponentials::<V>(attention.scale(), sources, weights.as_mut_ptr(), reciprocals);
        for (row, reciprocal) in reciprocals.iter().enumerate() {
            let first = row * sources;
            for (j, count) in groups(sources) {
                let weight = weights.as_mut_ptr().add(first + j);
                let p = vector::load::<V>(weight, count, 0.0).mul(V::splat(*reciprocal));
                let dropped = match mask {
                    Some(mask) => p.mul(V::splat(mask.scale)).keep(dropout::sixteen(bits, skip + first + j)),
                    None => p,
                };
                vector::store(dropped, weight, count);
            }
        }
    }
}

#[inline(always)]
unsafe fn differentiate_generic<V: Vector>(
    attention: &Attention,
    first: u64,
    softmax: &[f32],
    dropped: &mut [f32],
    grad: &mut [f32],
    bits: &mut [u8],
) {
    let sources = attention.sources;
    assert!(softmax.len().is_multiple_of(sources) && softmax.len() <= BLOCK * sources);
    assert!(dropped.len() == softmax.len() && grad.len() == softmax.len());
    let mask = attention.mask.as_ref();
    let skip = mask.map_or(0, |mask| dropout::keep_bits(mask, first, softmax.len(), bits));
    let mut inner = [0.0; BLOCK];
    let inner = &mut inner[..softmax.len() / sources];
    // SAFETY: rows lie inside the slices, and the caller has the instruction set.
    unsafe {
        for (row, inner) in inner.iter_mut().enumerate() {
            let first = row * sources;
            let p = softmax.as_ptr().add(first);
            let (grad, dropped) = (grad.as_mut_ptr().add(first), dropped.as_mut_ptr().add(first));
            let mut sums = [V::splat(0.0); 2];
            pairs!(sources, |j, count, turn| {
                let p = vector::load::<V>(p.add(j), count, 0.0);
                let mut g = vector::load::<V>(grad.add(j), count, 0.0);
                let mut weight = p;
                if let Some(mask) = mask {
                    let (scale, bits) = (V::splat(mask.scale), dropout::sixteen(bits, skip + first + j));
                    g = g.mul(scale).keep(bits);
                    weight = p.mul(scale).keep(bits);
                    vector::store(g, grad.add(j), count);
                }
                vector::store(weight, dropped.add(j), count);
                sums[turn] = p.mul_add(g, sums[turn]);
            });
            *inner = sums[0].add(sums[1]).sum();
        }
        let scale = V::splat(attention.scale());
        for (row, inner) in inner.iter().enumerate() {
            let first = row * sources;
            for (j, count) in groups(sources) {
                let p = vector::load::<V>(softmax.as_ptr().add(first + j), count, 0.0);
                let grad = grad.as_mut_ptr().add(first + j);
                let g = vector::load::<V>(grad, count, 0.0);
                vector::store(p.mul(scale).mul(g.sub(V::splat(*inner))), grad, count);
            }
        }
    }
}

vectorised! {
    /// Softmax of the scaled scores, row by row in place; then dropout. `bits` is room for the mask.
    fn normalise(attention: &Attention, first: u64, weights: &mut [f32], bits: &mut [u8]) = normalise_generic;
    /// From the softmax and the gradient by the dropped weights: the gradient by the unscaled scores,
    /// in place, and the dropped weights themselves.
    fn differentiate(
        attention: &Attention, first: u64, softmax: &[f32], dropped: &mut [f32], grad: &mut [f32], bits: &mut [u8],
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
                    a.forward(&q, &k, &v, &mut out, &mut scratch);
                    assert_close(&out, &expected.out, 5e-6, &what);

                    let mut scratch = vec![f32::NAN; a.backward_scratch_len()];
                    let [mut dq, mut dk, mut dv] = [&q, &k, &v].map(|x| vec![9.0; x.len()]);
                    a.backward(&q, &k, &v, &dout, &mut dq, &mut dk, &mut dv, &mut scratch);
                    assert_close(&dq, &expected.dq, 1e-5, &what);
                    assert_close(&dk, &expected.dk, 1e-5, &what);
                    assert_close(&dv, &expected.dv, 1e-5, &what);
                }
            }
        });
    }
}
