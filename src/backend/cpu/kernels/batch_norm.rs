//! Batch normalisation (Ioffe & Szegedy 2015). Tensors are rows of channels.
//!
//! Sums over a batch are taken image by image: each image's from zero, then added to those before.

use super::isa::{madd, multiversion};

/// Channels whose sums are in registers together.
const BLOCK: usize = 32;

/// Adds to two rows of sums those of `f(row, channel)` over some rows, for `width` channels, at most [`BLOCK`].
#[inline(always)]
fn block_sums(rows: usize, width: usize, f: impl Fn(usize, usize) -> [f32; 2], [first, second]: [&mut [f32]; 2]) {
    let (mut a, mut b) = ([0.0; BLOCK], [0.0; BLOCK]);
    for row in 0..rows {
        for lane in 0..width {
            let [of_a, of_b] = f(row, lane);
            a[lane] += of_a;
            b[lane] += of_b;
        }
    }
    for lane in 0..width {
        first[lane] += a[lane];
        second[lane] += b[lane];
    }
}

/// As [`block_sums`], of all channels.
#[inline(always)]
fn sums(rows: usize, f: impl Fn(usize, usize) -> [f32; 2], [first, second]: [&mut [f32]; 2]) {
    for (block, (first, second)) in first.chunks_mut(BLOCK).zip(second.chunks_mut(BLOCK)).enumerate() {
        let of_block = |row: usize, lane: usize| f(row, block * BLOCK + lane);
        match first.len() {
            // A width that the compiler knows.
            BLOCK => block_sums(rows, BLOCK, of_block, [first, second]),
            width => block_sums(rows, width, of_block, [first, second]),
        }
    }
}

#[inline(always)]
fn moments_generic<const FMA: bool>(images: usize, channels: usize, x: &[f32], shift: &[f32], out: &mut [f32]) {
    assert!(shift.len() == channels && out.len() == 2 * channels && x.len().is_multiple_of(images * channels));
    let rows = x.len() / channels / images;
    for x in x.chunks_exact(rows * channels) {
        let (first, second) = out.split_at_mut(channels);
        let f = |row: usize, c: usize| {
            let value = x[row * channels + c] - shift[c];
            [value, value * value]
        };
        sums(rows, f, [first, second]);
    }
}

#[inline(always)]
fn normalise_generic<const FMA: bool>(
    channels: usize,
    x: &[f32],
    mean: &[f32],
    factor: &[f32],
    beta: &[f32],
    y: &mut [f32],
) {
    assert!(mean.len() == channels && factor.len() == channels && beta.len() == channels && x.len() == y.len());
    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        for c in 0..channels {
            y[c] = madd::<FMA>(x[c] - mean[c], factor[c], beta[c]);
        }
    }
}

#[inline(always)]
fn gradient_sums_generic<const FMA: bool>(
    images: usize,
    channels: usize,
    dy: &[f32],
    x: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    assert!(x.len() == dy.len() && x.len().is_multiple_of(images * channels));
    assert!(mean.len() == channels && rstd.len() == channels);
    let rows = x.len() / channels / images;
    for (dy, x) in dy.chunks_exact(rows * channels).zip(x.chunks_exact(rows * channels)) {
        let f = |row: usize, c: usize| {
            let dy = dy[row * channels + c];
            [dy * ((x[row * channels + c] - mean[c]) * rstd[c]), dy]
        };
        sums(rows, f, [&mut *dgamma, &mut *dbeta]);
    }
}

#[inline(always)]
fn gradient_generic<const FMA: bool>(
    channels: usize,
    dy: &[f32],
    x: &[f32],
    mean: &[f32],
    terms: &[f32],
    dx: &mut [f32],
) {
    assert!(mean.len() == channels && terms.len() == 3 * channels && x.len() == dy.len() && x.len() == dx.len());
    let (factor, rest) = terms.split_at(channels);
    let (slope, offset) = rest.split_at(channels);
    for ((dy, x), dx) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)).zip(dx.chunks_exact_mut(channels)) {
        for c in 0..channels {
            let along = madd::<FMA>(x[c] - mean[c], slope[c], offset[c]);
            dx[c] = madd::<FMA>(dy[c], factor[c], along);
        }
    }
}

multiversion! {
    /// Adds the sums of `x - shift` and of its square, `[2, channels]`.
    pub fn moments(images: usize, channels: usize, x: &[f32], shift: &[f32], out: &mut [f32]) = moments_generic;
    /// `y = (x - mean) factor + beta`.
    pub fn normalise(
        channels: usize, x: &[f32], mean: &[f32], factor: &[f32], beta: &[f32], y: &mut [f32],
    ) = normalise_generic;
    /// Adds the sums of `dy (x - mean) rstd` and of dy.
    pub fn gradient_sums(
        images: usize, channels: usize, dy: &[f32], x: &[f32], mean: &[f32], rstd: &[f32], dgamma: &mut [f32],
        dbeta: &mut [f32],
    ) = gradient_sums_generic;
    /// `dx = dy factor + (x - mean) slope + offset`, whose last three are `terms`, `[3, channels]`.
    pub fn gradient(
        channels: usize, dy: &[f32], x: &[f32], mean: &[f32], terms: &[f32], dx: &mut [f32],
    ) = gradient_generic;
}
