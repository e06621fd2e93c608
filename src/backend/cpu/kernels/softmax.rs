//! Softmax over the last axis.

use super::exp::exp_at_most_one;
use super::isa::multiversion;
use super::lanes;

/// One row in place: `p = softmax(scale · x)`, for a positive scale.
#[inline(always)]
pub(crate) fn row<const FMA: bool>(scale: f32, x: &mut [f32]) {
    let max = lanes::max(x) * scale;
    for x in x.iter_mut() {
        *x = exp_at_most_one::<FMA>(*x * scale - max);
    }
    let reciprocal = 1.0 / lanes::sum_by(x.len(), |i| x[i]);
    for x in x.iter_mut() {
        *x *= reciprocal;
    }
}

#[inline(always)]
fn forward_generic<const FMA: bool>(rows: usize, dim: usize, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == rows * dim && y.len() == rows * dim);
    if dim == 0 {
        return;
    }
    for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
        y.copy_from_slice(x);
        row::<FMA>(1.0, y);
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

multiversion! {
    /// `y[r, :] = softmax(x[r, :])`; `x` and `y` are `[rows, dim]`.
    pub fn forward(rows: usize, dim: usize, x: &[f32], y: &mut [f32]) = forward_generic;
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
