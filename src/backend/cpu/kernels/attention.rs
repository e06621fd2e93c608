//! Scaled dot-product attention of one image, all heads, fused (Vaswani et al. 2017).
//!
//! For each head: `S = scale Q·Kᵀ`, `P = softmax(S)` by rows, dropout on `P`, `O = P·V`. A
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

/// Scores of the rows that go through a head together: as many as a first-level cache of 32 KiB holds.
const BLOCK_SCORES: usize = 8192;

/// Shapes of one image's attention. `q` is `[tokens, heads · key_dim]`, `k` `[sources, heads ·
/// key_dim]`, or `[sources, key_dim]` if shared, `v` `[sources, heads · value_dim]`, the output `[tokens, heads ·
/// value_dim]`, or `[tokens, value_dim]` if summed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Rows of the query and of the output.
    pub tokens: usize,
    /// Rows of the key and of the value.
    pub sources: usize,
    /// Each has its columns of query, key, value and output.
    pub heads: usize,
    /// Columns of a head in query and key.
    pub key_dim: usize,
    /// Columns of a head in value and output.
    pub value_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// All heads have the same keys.
    pub shared_keys: bool,
    /// The output is the sum over heads.
    pub summed: bool,
    /// The score of a row and of the source of the same number is left out.
    pub diagonal: bool,
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
        self.block() * (sources + value_dim) + packed + ALIGNMENT
    }

    /// Length of [`Attention::backward`]'s scratch.
    #[must_use]
    pub fn backward_scratch_len(&self) -> usize {
        let Self { tokens, sources, key_dim, value_dim, .. } = *self;
        let products = [value_dim, key_dim].map(|width| gemm::scratch_len(sources, width, tokens));
        let packed = gemm::packed_len(value_dim, sources)
            + gemm::packed_len(sources, key_dim)
            + gemm::packed_len(key_dim, sources);
        (2 * tokens + 1) * sources + packed + products[0].max(products[1]) + ALIGNMENT
    }

    /// Length of what [`Attention::forward`] keeps for [`Attention::backward`].
    #[must_use]
    pub fn kept_len(&self, dropout: bool) -> usize {
        self.heads * self.tokens.div_ceil(self.block()) * self.kept_block_len(dropout)
    }

    fn kept_block_len(&self, dropout: bool) -> usize {
        let scores = self.block() * self.sources;
        let bits = if dropout { dropout::keep_bits_len(scores).div_ceil(size_of::<f32>()) } else { 0 };
        2 * self.block() + bits
    }

    /// Rows that go through a head together: those of some tiles of a product.
    fn block(&self) -> usize {
        MR * (BLOCK_SCORES / (self.sources * MR)).clamp(1, 4)
    }

    /// Index of the first weight of a head's row, in the tensor of the whole batch.
    fn first_weight(&self, head: usize, row: usize) -> u64 {
        let Self { tokens, sources, heads, image, .. } = *self;
        (((image * heads + head) * tokens + row) * sources) as u64
    }

    /// What a score's distance from the largest is multiplied by to be the exponent of a power of two.
    fn exponent_scale(&self) -> f32 {
        LOG2_E * self.scale
    }

    /// Elements from one row of `k` to the next, and from one head to the next.
    fn key_strides(&self) -> [usize; 2] {
        if self.shared_keys { [self.key_dim, 0] } else { [self.heads * self.key_dim, self.key_dim] }
    }

    /// The same of the output.
    fn output_strides(&self) -> [usize; 2] {
        if self.summed { [self.value_dim, 0] } else { [self.heads * self.value_dim, self.value_dim] }
    }

    /// Leaves scores of the diagonal out, of a block of rows from `first` on.
    fn leave_out(&self, first: usize, scores: &mut [f32]) {
        if self.diagonal {
            for (row, scores) in scores.chunks_exact_mut(self.sources).enumerate() {
                scores[first + row] = f32::NEG_INFINITY;
            }
        }
    }

    fn check(&self, q: &[f32], k: &[f32], v: &[f32], out: &[f32], kept: &[f32]) {
        let Self { tokens, sources, heads, key_dim, value_dim, .. } = *self;
        assert_eq!(q.len(), tokens * heads * key_dim, "q");
        assert_eq!(k.len(), sources * self.key_strides()[0], "k");
        assert_eq!(v.len(), sources * heads * value_dim, "v");
        assert_eq!(out.len(), tokens * self.output_strides()[0], "output");
        assert_eq!(kept.len(), self.kept_len(self.mask.is_some()), "kept");
    }

    /// `out = dropout(softmax(scale Q·Kᵀ))·V`. `kept` receives what [`Attention::backward`] needs
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
        let (block, queries, values) = (self.block(), heads * key_dim, heads * value_dim);
        let ([keys, next_key], [outputs, next_output]) = (self.key_strides(), self.output_strides());
        let (packed_k, scratch) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(key_dim, sources));
        let (packed_v, scratch) = scratch.split_at_mut(gemm::packed_len(sources, value_dim));
        let (product, scratch) = scratch.split_at_mut(block * value_dim);
        let mut kept = kept.chunks_exact_mut(self.kept_block_len(self.mask.is_some()));
        for head in 0..heads {
            if head == 0 || !self.shared_keys {
                gemm::pack_b(key_dim, sources, Mat::transposed(&k[head * next_key..], keys), packed_k);
            }
            gemm::pack_b(sources, value_dim, Mat::rows(&v[head * value_dim..], values), packed_v);
            let adds = self.summed && head > 0;
            for (first, kept) in (0..tokens).step_by(block).zip(&mut kept) {
                let rows = block.min(tokens - first);
                let weights = &mut scratch[..rows * sources];
                let q = Mat::rows(&q[first * queries + head * key_dim..], queries);
                gemm_packed(rows, sources, key_dim, q, packed_k, weights, sources, &Epilogue::default());
                self.leave_out(first, weights);
                weigh(self, self.first_weight(head, first), weights, kept);
                let product = &mut product[..rows * value_dim];
                let weights = Mat::rows(weights, sources);
                gemm_packed(rows, value_dim, sources, weights, packed_v, product, value_dim, &Epilogue::default());
                let (_, factors, _) = kept_parts(kept, block);
                let from = first * outputs + head * next_output;
                let done = !self.summed || head + 1 == heads;
                let copy = if copy.is_empty() || !done { &mut [] } else { &mut copy[from..] };
                normalise(product, &factors[..rows], adds, &mut out[from..], outputs, copy);
            }
        }
        if !copy.is_empty() {
            stream::finish();
        }
    }

    /// Gradients by `q`, `k` and `v`, which are overwritten, from the gradient `dout` by the output `out`.
    ///
    /// With `D` the dropout factors: `dV = (P·D)ᵀ·dO`; `dP = (dO·Vᵀ)·D`; `dS = P·(dP - Σ P·dP)` by
    /// rows, where `Σ P·dP = Σ dO·O`; `dQ = scale dS·K`; `dK = scale dSᵀ·Q`. `out` is not read if it is a sum over
    /// heads.
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
        self.check(dq, dk, dv, if self.summed { dout } else { out }, kept);
        let Self { tokens, sources, heads, key_dim, value_dim, .. } = *self;
        let (block, queries, values) = (self.block(), heads * key_dim, heads * value_dim);
        let ([keys, next_key], [outputs, next_output]) = (self.key_strides(), self.output_strides());
        let (packed_v, scratch) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(value_dim, sources));
        let (packed_k, scratch) = scratch.split_at_mut(gemm::packed_len(sources, key_dim));
        let (packed_kt, scratch) = scratch.split_at_mut(gemm::packed_len(key_dim, sources));
        let (weights, scratch) = scratch.split_at_mut(tokens * sources);
        let (grad, scratch) = scratch.split_at_mut(tokens * sources);
        let (row, scratch) = scratch.split_at_mut(sources);
        let mut kept = kept.chunks_exact(self.kept_block_len(self.mask.is_some()));
        for head in 0..heads {
            let k_head = &k[head * next_key..];
            gemm::pack_b(value_dim, sources, Mat::transposed(&v[head * value_dim..], values), packed_v);
            if head == 0 || !self.shared_keys {
                gemm::pack_b(sources, key_dim, Mat::rows(k_head, keys), packed_k);
                gemm::pack_b(key_dim, sources, Mat::transposed(k_head, keys), packed_kt);
            }
            for (first, kept) in (0..tokens).step_by(block).zip(&mut kept) {
                let rows = block.min(tokens - first);
                let part = first * sources..(first + rows) * sources;
                let (grad, weights) = (&mut grad[part.clone()], &mut weights[part]);
                let q = Mat::rows(&q[first * queries + head * key_dim..], queries);
                gemm_packed(rows, sources, key_dim, q, packed_kt, weights, sources, &Epilogue::default());
                self.leave_out(first, weights);
                let from = first * outputs + head * next_output;
                let dout = &dout[from..];
                let out = if self.summed { &[] } else { &out[from..] };
                let dout_rows = Mat::rows(dout, outputs);
                gemm_packed(rows, sources, value_dim, dout_rows, packed_v, grad, sources, &Epilogue::default());
                differentiate(self, self.first_weight(head, first), kept, out, dout, weights, grad, row);
                let dq = &mut dq[first * queries + head * key_dim..];
                let grad = Mat::rows(grad, sources);
                gemm_packed(rows, key_dim, sources, grad, packed_k, dq, queries, &Epilogue::default());
            }
            let weights = Mat::transposed(weights, sources);
            let dout = Mat::rows(&dout[head * next_output..], outputs);
            gemm(sources, value_dim, tokens, weights, dout, &mut dv[head * value_dim..], values, false, scratch);
            let (grad, q) = (Mat::transposed(grad, sources), Mat::rows(&q[head * key_dim..], queries));
            let adds = self.shared_keys && head > 0;
            gemm(sources, key_dim, tokens, grad, q, &mut dk[head * next_key..], keys, adds, scratch);
        }
    }
}

/// The parts of what is kept of a block of rows: the largest score of each, what its powers are multiplied by, and
/// the bits of the dropout.
fn kept_parts(kept: &[f32], block: usize) -> (&[f32], &[f32], &[u8]) {
    let (largest, rest) = kept.split_at(block);
    let (factors, bits) = rest.split_at(block);
    (largest, factors, bytemuck::cast_slice(bits))
}

#[inline(always)]
unsafe fn weigh_generic<V: Vector>(attention: &Attention, first: u64, scores: &mut [f32], kept: &mut [f32]) {
    let (sources, block) = (attention.sources, attention.block());
    let rows = scores.len() / sources;
    assert!(scores.len().is_multiple_of(sources) && rows <= block);
    let (largest, rest) = kept.split_at_mut(block);
    let (factors, bits) = rest.split_at_mut(block);
    let bits: &mut [u8] = bytemuck::cast_slice_mut(bits);
    let mask = attention.mask.as_ref();
    let skip = mask.map_or(0, |mask| dropout::keep_bits(mask, first, scores.len(), bits));
    let dropout_scale = mask.map_or(1.0, |mask| mask.scale);
    // SAFETY: rows lie inside the slices, and the caller has the instruction set.
    unsafe {
        softmax::row_largest::<V>(sources, scores.as_ptr(), &mut largest[..rows]);
        let scale = V::splat(attention.exponent_scale());
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
unsafe fn normalise_generic<V: Vector>(
    product: &[f32],
    factors: &[f32],
    adds: bool,
    out: &mut [f32],
    ld: usize,
    copy: &mut [f32],
) {
    let width = product.len() / factors.len();
    let streams = stream::aligned(copy) && ld.is_multiple_of(LANES);
    for (row, factor) in factors.iter().enumerate() {
        let product = &product[row * width..][..width];
        let out = &mut out[row * ld..][..width];
        let copy = if copy.is_empty() { &mut [] } else { &mut copy[row * ld..][..width] };
        for (j, count) in groups(width) {
            // SAFETY: inside the row, and the caller has the instruction set.
            unsafe {
                let out = out.as_mut_ptr().add(j);
                let value = vector::load::<V>(product.as_ptr().add(j), count, 0.0);
                let factor = V::splat(*factor);
                let value = if adds { value.mul_add(factor, vector::load(out, count, 0.0)) } else { value.mul(factor) };
                vector::store(value, out, count);
                if !copy.is_empty() {
                    let copy = copy.as_mut_ptr().add(j);
                    if streams && count == LANES { value.stream(copy) } else { vector::store(value, copy, count) }
                }
            }
        }
    }
}

/// The sum of the products of two rows.
#[inline(always)]
unsafe fn dot<V: Vector>(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    // SAFETY: inside the rows, and the caller has the instruction set.
    unsafe {
        let mut sums = [V::splat(0.0); 2];
        pairs!(a.len(), |j, count, turn| {
            let a = vector::load::<V>(a.as_ptr().add(j), count, 0.0);
            sums[turn] = a.mul_add(vector::load(b.as_ptr().add(j), count, 0.0), sums[turn]);
        });
        sums[0].add(sums[1]).sum()
    }
}

/// What makes weights of a row's scores once more.
struct Weigh<'a, V> {
    largest: V,
    factor: V,
    exponent_scale: V,
    /// The bits of the dropout, and which of them is the row's first.
    bits: Option<(&'a [u8], usize)>,
}

/// Weights before and after dropout, and the gradient where that let it through.
struct Weighed<V> {
    weight: V,
    kept: V,
    g: V,
}

impl<V: Vector> Weigh<'_, V> {
    /// # Safety
    /// Both pointers are valid for `count` elements, at most 16; and as [`Vector`].
    #[inline(always)]
    unsafe fn again(&self, scores: *const f32, grad: *const f32, at: usize, count: usize) -> Weighed<V> {
        // SAFETY: what the caller vouches for.
        unsafe {
            let score = vector::load::<V>(scores, count, f32::NEG_INFINITY);
            let weight = exp2(score.sub(self.largest).mul(self.exponent_scale)).mul(self.factor);
            let (mut kept, mut g) = (weight, vector::load::<V>(grad, count, 0.0));
            if let Some((bits, first)) = self.bits {
                let bits = dropout::sixteen(bits, first + at);
                (kept, g) = (kept.keep(bits), g.keep(bits));
            }
            Weighed { weight, kept, g }
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
    whole: &mut [f32],
) {
    let Attention { sources, value_dim, summed, .. } = *attention;
    let (rows, [ld, _]) = (weights.len() / sources, attention.output_strides());
    assert!(weights.len().is_multiple_of(sources) && rows <= attention.block() && grad.len() == weights.len());
    assert!(whole.len() >= sources);
    let (largest, factors, bits) = kept_parts(kept, attention.block());
    let mask = attention.mask.as_ref();
    let skip = dropout::first_bit(first);
    let dropout_scale = mask.map_or(1.0, |mask| mask.scale);
    let whole = whole.as_mut_ptr();
    // SAFETY: rows lie inside the slices, and the caller has the instruction set.
    unsafe {
        let exponent_scale = V::splat(attention.exponent_scale());
        // The weights below have the scale of the dropout in them, so that `dP` needs it no more.
        let slope = V::splat(attention.scale);
        for row in 0..rows {
            let first = row * sources;
            let (largest, factor) = (V::splat(largest[row]), V::splat(factors[row]));
            let centre = |sum: f32| V::splat(-sum * attention.scale / dropout_scale);
            let (weights, grad) = (weights.as_mut_ptr().add(first), grad.as_mut_ptr().add(first));
            let weigh = Weigh { largest, factor, exponent_scale, bits: mask.map(|_| (bits, skip + first)) };
            if summed {
                // What the head alone has added to the output is not known, so the sum is taken over the weights.
                let mut sums = [V::splat(0.0); 2];
                pairs!(sources, |j, count, turn| {
                    let Weighed { weight, kept, g } = weigh.again(weights.add(j), grad.add(j), j, count);
                    vector::store(kept, weights.add(j), count);
                    sums[turn] = kept.mul_add(g, sums[turn]);
                    vector::store(weight, whole.add(j), count);
                    vector::store(g, grad.add(j), count);
                });
                let inner = centre(sums[0].add(sums[1]).sum());
                for (j, count) in groups(sources) {
                    let weight = vector::load::<V>(whole.add(j), count, 0.0);
                    let g = vector::load::<V>(grad.add(j), count, 0.0);
                    vector::store(weight.mul(g.mul_add(slope, inner)), grad.add(j), count);
                }
            } else {
                let (out, dout) = (&out[row * ld..][..value_dim], &dout[row * ld..][..value_dim]);
                let inner = centre(dot::<V>(out, dout));
                for (j, count) in groups(sources) {
                    let Weighed { weight, kept, g } = weigh.again(weights.add(j), grad.add(j), j, count);
                    vector::store(kept, weights.add(j), count);
                    vector::store(weight.mul(g.mul_add(slope, inner)), grad.add(j), count);
                }
            }
        }
    }
}

vectorised! {
    /// From the scores of a block of rows to powers, in place, of which a row's sum would make a softmax;
    /// then dropout. `kept` receives what is kept.
    fn weigh(attention: &Attention, first: u64, scores: &mut [f32], kept: &mut [f32]) = weigh_generic;
    /// Multiplies the rows of a product by their factors, into or onto rows of `out` that are `ld` apart, also into a
    /// copy.
    fn normalise(product: &[f32], factors: &[f32], adds: bool, out: &mut [f32], ld: usize, copy: &mut [f32])
        = normalise_generic;
    /// From the scores, what forward kept and the gradient by the dropped weights: the dropped weights and
    /// the gradient by the unscaled scores, each in place. `whole` holds a row.
    fn differentiate(
        attention: &Attention, first: u64, kept: &[f32], out: &[f32], dout: &[f32], weights: &mut [f32], grad: &mut [f32],
        whole: &mut [f32],
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
        let ([keys, next_key], [outputs, next_output]) = (a.key_strides(), a.output_strides());
        let mut r = Reference {
            out: vec![0.0; dout.len()],
            dq: vec![0.0; q.len()],
            dk: vec![0.0; k.len()],
            dv: vec![0.0; v.len()],
        };
        let scale = f64::from(a.scale);
        for h in 0..heads {
            for i in 0..tokens {
                let qi = |d: usize| (i * heads + h) * key_dim + d;
                let kj = |j: usize, d: usize| j * keys + h * next_key + d;
                let vj = |j: usize, d: usize| (j * heads + h) * value_dim + d;
                let oi = |d: usize| i * outputs + h * next_output + d;
                let score = |j| match a.diagonal && i == j {
                    true => f64::NEG_INFINITY,
                    false => (0..key_dim).map(|d| f64::from(q[qi(d)]) * f64::from(k[kj(j, d)])).sum::<f64>() * scale,
                };
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
                let forms =
                    [(None, [false; 2]), (Some(mask), [false; 2]), (Some(mask), [true, false]), (None, [true; 2])];
                let forms = forms.into_iter().chain([(Some(mask), [false, true])]);
                let forms = forms.flat_map(|form| [(form, false), (form, true)]);
                for ((mask, [shared_keys, summed]), diagonal) in
                    forms.filter(|(_, diagonal)| !diagonal || tokens == sources && tokens > 1)
                {
                    let scale = if shared_keys { 0.3 } else { 1.0 / (key_dim as f32).sqrt() };
                    let a = Attention {
                        tokens,
                        sources,
                        heads,
                        key_dim,
                        value_dim,
                        scale,
                        shared_keys,
                        summed,
                        diagonal,
                        mask,
                        image: 3,
                    };
                    let what = format!("{isa:?} {a:?}");
                    let q = noise(1, tokens * heads * key_dim);
                    let k = noise(2, sources * a.key_strides()[0]);
                    let v = noise(3, sources * heads * value_dim);
                    let dout = noise(4, tokens * a.output_strides()[0]);
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
