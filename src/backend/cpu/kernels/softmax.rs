//! Softmax over the last axis.

use std::f32::consts::LOG2_E;

use super::exp::exp2;
use super::isa::multiversion;
use super::lanes;
use super::vector::{self, Vector, groups, pairs, vectorised};

/// The largest element of each row of `len`.
///
/// All rows go through this before they go on: the end of a row's reduction is a chain of dependent
/// instructions, which the next row fills.
///
/// # Safety
/// `x` has `largest.len() · len` elements; and as [`Vector`].
#[inline(always)]
pub(crate) unsafe fn row_largest<V: Vector>(len: usize, x: *const f32, largest: &mut [f32]) {
    // SAFETY: what the caller vouches for.
    unsafe {
        for (row, largest) in largest.iter_mut().enumerate() {
            let x = x.add(row * len);
            let mut best = [V::splat(f32::NEG_INFINITY); 2];
            pairs!(len, |i, count, turn| {
                best[turn] = best[turn].larger(vector::load(x.add(i), count, f32::NEG_INFINITY));
            });
            *largest = best[0].larger(best[1]).largest();
        }
    }
}

/// Rows that [`forward`] takes through [`row_largest`] together.
const ROWS: usize = 16;

#[inline(always)]
unsafe fn forward_generic<V: Vector>(rows: usize, dim: usize, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == rows * dim && y.len() == rows * dim);
    if dim == 0 {
        return;
    }
    for (x, y) in x.chunks(ROWS * dim).zip(y.chunks_mut(ROWS * dim)) {
        let mut largest = [0.0; ROWS];
        let largest = &mut largest[..y.len() / dim];
        // SAFETY: the chunks have whole rows of `dim` elements; the caller has the instruction set.
        unsafe {
            row_largest::<V>(dim, x.as_ptr(), largest);
            for (row, largest) in largest.iter().enumerate() {
                let (x, y) = (x.as_ptr().add(row * dim), y.as_mut_ptr().add(row * dim));
                let mut sums = [V::splat(0.0); 2];
                pairs!(dim, |i, count, turn| {
                    let x = vector::load::<V>(x.add(i), count, f32::NEG_INFINITY);
                    let e = exp2(x.sub(V::splat(*largest)).mul(V::splat(LOG2_E)));
                    vector::store(e, y.add(i), count);
                    sums[turn] = sums[turn].add(e);
                });
                let reciprocal = V::splat(1.0 / sums[0].add(sums[1]).sum());
                for (i, count) in groups(dim) {
                    vector::store(vector::load::<V>(y.add(i), count, 0.0).mul(reciprocal), y.add(i), count);
                }
            }
        }
    }
}

#[inline(always)]
fn backward_generic<const FMA: bool>(rows: usize, dim: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(y.len() == rows * dim && dy.len() == rows * dim && dx.len() == rows * dim);
    if dim == 0 {
        return;
    }
    for ((y, dy), dx) in y.chunks_exact(dim).zip(dy.chunks_exact(dim)).zip(dx.chunks_exact_mut(dim)) {
        let inner = lanes::sum_by(dim, |i| y[i] * dy[i]);
        for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = y * (dy - inner);
        }
    }
}

vectorised! {
    /// `y[r, :] = softmax(x[r, :])`; `x` and `y` are `[rows, dim]`.
    pub fn forward(rows: usize, dim: usize, x: &[f32], y: &mut [f32]) = forward_generic;
}

multiversion! {
    /// `dx = y · (dy - Σ y·dy)` by rows, from the softmax `y`.
    pub fn backward(rows: usize, dim: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) = backward_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{assert_close, noise, on_each_isa};

    #[test]
    fn against_f64() {
        on_each_isa(|isa| {
            for (rows, dim) in [(1, 1), (3, 2), (2, 7), (5, 33), (3, 144), (2, 1000)] {
                let x: Vec<f32> = noise(1, rows * dim).iter().map(|x| 20.0 * x).collect();
                let dy = noise(2, rows * dim);
                let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                forward(rows, dim, &x, &mut y);
                backward(rows, dim, &y, &dy, &mut dx);
                let (mut expected_y, mut expected_dx) = (Vec::new(), Vec::new());
                for r in 0..rows {
                    let row = &x[r * dim..][..dim];
                    let max = row.iter().copied().fold(f32::MIN, f32::max);
                    let e: Vec<f64> = row.iter().map(|x| f64::from(x - max).exp()).collect();
                    let sum: f64 = e.iter().sum();
                    let p: Vec<f64> = e.iter().map(|e| e / sum).collect();
                    let dy = &dy[r * dim..][..dim];
                    let inner: f64 = p.iter().zip(dy).map(|(p, &dy)| p * f64::from(dy)).sum();
                    expected_dx.extend(p.iter().zip(dy).map(|(p, &dy)| p * (f64::from(dy) - inner)));
                    expected_y.extend(p);
                }
                assert_close(&y, &expected_y, 1e-6, &format!("{isa:?} y {rows}x{dim}"));
                assert_close(&dx, &expected_dx, 1e-6, &format!("{isa:?} dx {rows}x{dim}"));
            }
        });
    }

    #[test]
    fn large_inputs_do_not_overflow() {
        let mut y = [0.0; 3];
        forward(1, 3, &[1e30, 1e30, -1e30], &mut y);
        assert_eq!(y, [0.5, 0.5, 0.0]);
    }
}
