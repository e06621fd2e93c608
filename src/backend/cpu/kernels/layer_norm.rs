//! Layer normalisation over the last axis (Ba, Kiros & Hinton 2016).

use super::vector::{self, Vector, groups, pairs, vectorised};

/// Rows that go through a step together: a row's reduction ends in a chain of dependent instructions,
/// which the next row fills.
const ROWS: usize = 16;

#[inline(always)]
unsafe fn forward_generic<V: Vector>(
    rows: usize,
    dim: usize,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    y: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    assert!(x.len() == rows * dim && y.len() == rows * dim);
    assert!(gamma.len() == dim && beta.len() == dim && mean.len() == rows && rstd.len() == rows && dim > 0);
    let each = 1.0 / dim as f32;
    for first in (0..rows).step_by(ROWS) {
        let block = first..rows.min(first + ROWS);
        // SAFETY: rows lie inside the slices, and the caller has the instruction set.
        unsafe {
            for row in block.clone() {
                let x = x.as_ptr().add(row * dim);
                let mut sums = [V::splat(0.0); 2];
                pairs!(dim, |i, count, turn| {
                    sums[turn] = sums[turn].add(vector::load(x.add(i), count, 0.0));
                });
                mean[row] = sums[0].add(sums[1]).sum() * each;
            }
            // A second pass: the rows are in the first-level cache, and the variance does not cancel.
            for row in block.clone() {
                let x = x.as_ptr().add(row * dim);
                let m = V::splat(mean[row]);
                let mut sums = [V::splat(0.0); 2];
                pairs!(dim, |i, count, turn| {
                    let centred = vector::load::<V>(x.add(i), count, mean[row]).sub(m);
                    sums[turn] = centred.mul_add(centred, sums[turn]);
                });
                rstd[row] = 1.0 / (sums[0].add(sums[1]).sum() * each + eps).sqrt();
            }
            for row in block {
                let (m, r) = (V::splat(mean[row]), V::splat(rstd[row]));
                for (i, count) in groups(dim) {
                    let x = vector::load::<V>(x.as_ptr().add(row * dim + i), count, 0.0);
                    let gamma = vector::load::<V>(gamma.as_ptr().add(i), count, 0.0);
                    let beta = vector::load::<V>(beta.as_ptr().add(i), count, 0.0);
                    let y = y.as_mut_ptr().add(row * dim + i);
                    vector::store(x.sub(m).mul(r).mul_add(gamma, beta), y, count);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn backward_generic<V: Vector>(
    rows: usize,
    dim: usize,
    x: &[f32],
    gamma: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    assert!(x.len() == rows * dim && dy.len() == rows * dim && dx.len() == rows * dim);
    assert!(gamma.len() == dim && dgamma.len() == dim && dbeta.len() == dim);
    assert!(mean.len() == rows && rstd.len() == rows && dim > 0);
    let each = 1.0 / dim as f32;
    for first in (0..rows).step_by(ROWS) {
        let block = first..rows.min(first + ROWS);
        let (mut mean_g, mut mean_gx) = ([0.0; ROWS], [0.0; ROWS]);
        // SAFETY: rows lie inside the slices, and the caller has the instruction set.
        unsafe {
            for row in block.clone() {
                let (m, r) = (V::splat(mean[row]), V::splat(rstd[row]));
                let (x, dy) = (x.as_ptr().add(row * dim), dy.as_ptr().add(row * dim));
                let (mut sums, mut sums_x) = ([V::splat(0.0); 2], [V::splat(0.0); 2]);
                pairs!(dim, |i, count, turn| {
                    let gamma = vector::load::<V>(gamma.as_ptr().add(i), count, 0.0);
                    let g = vector::load::<V>(dy.add(i), count, 0.0).mul(gamma);
                    let normal = vector::load::<V>(x.add(i), count, 0.0).sub(m).mul(r);
                    sums[turn] = sums[turn].add(g);
                    sums_x[turn] = g.mul_add(normal, sums_x[turn]);
                });
                mean_g[row - first] = sums[0].add(sums[1]).sum() * each;
                mean_gx[row - first] = sums_x[0].add(sums_x[1]).sum() * each;
            }
            for (i, count) in groups(dim) {
                let gamma = vector::load::<V>(gamma.as_ptr().add(i), count, 0.0);
                let (dgamma, dbeta) = (dgamma.as_mut_ptr().add(i), dbeta.as_mut_ptr().add(i));
                let mut sum_gamma = vector::load::<V>(dgamma, count, 0.0);
                let mut sum_beta = vector::load::<V>(dbeta, count, 0.0);
                for row in block.clone() {
                    let (m, r) = (V::splat(mean[row]), V::splat(rstd[row]));
                    let at = row * dim + i;
                    let dy = vector::load::<V>(dy.as_ptr().add(at), count, 0.0);
                    let normal = vector::load::<V>(x.as_ptr().add(at), count, 0.0).sub(m).mul(r);
                    sum_gamma = dy.mul_add(normal, sum_gamma);
                    sum_beta = sum_beta.add(dy);
                    let g = dy.mul(gamma).sub(V::splat(mean_g[row - first]));
                    let inner = normal.mul(V::splat(mean_gx[row - first]));
                    vector::store(g.sub(inner).mul(r), dx.as_mut_ptr().add(at), count);
                }
                vector::store(sum_gamma, dgamma, count);
                vector::store(sum_beta, dbeta, count);
            }
        }
    }
}

vectorised! {
    /// `y = (x - mean) · rstd · gamma + beta` by rows, with `rstd = 1 / sqrt(var + eps)` of the biased
    /// variance. `x`, `y`: `[rows, dim]`; `gamma`, `beta`: `[dim]`; `mean`, `rstd`: `[rows]`, kept for
    /// [`backward`].
    pub fn forward(
        rows: usize, dim: usize, x: &[f32], gamma: &[f32], beta: &[f32], eps: f32,
        y: &mut [f32], mean: &mut [f32], rstd: &mut [f32],
    ) = forward_generic;
    /// With `g = dy · gamma` and `n = (x - mean) · rstd`: `dx = rstd · (g - mean(g) - n · mean(g·n))`
    /// by rows; `dgamma += Σ dy·n` and `dbeta += Σ dy` over rows, in their order.
    pub fn backward(
        rows: usize, dim: usize, x: &[f32], gamma: &[f32], mean: &[f32], rstd: &[f32], dy: &[f32],
        dx: &mut [f32], dgamma: &mut [f32], dbeta: &mut [f32],
    ) = backward_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{assert_close, noise, on_each_isa};

    #[test]
    fn against_f64() {
        on_each_isa(|isa| {
            for (rows, dim) in [(1, 1), (2, 3), (3, 7), (5, 33), (2, 64), (3, 130), (1, 777)] {
                let what = format!("{isa:?} {rows}x{dim}");
                let (x, gamma, beta, dy) = (noise(1, rows * dim), noise(2, dim), noise(3, dim), noise(4, rows * dim));
                let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
                let (mut dgamma, mut dbeta) = (vec![1.0; dim], vec![2.0; dim]);
                forward(rows, dim, &x, &gamma, &beta, 1e-3, &mut y, &mut mean, &mut rstd);
                backward(rows, dim, &x, &gamma, &mean, &rstd, &dy, &mut dx, &mut dgamma, &mut dbeta);

                let (mut ey, mut edx) = (Vec::new(), Vec::new());
                let (mut edgamma, mut edbeta) = (vec![1.0; dim], vec![2.0; dim]);
                for r in 0..rows {
                    let at = |v: &[f32], i: usize| f64::from(v[r * dim + i]);
                    let n = dim as f64;
                    let m = (0..dim).map(|i| at(&x, i)).sum::<f64>() / n;
                    let variance = (0..dim).map(|i| (at(&x, i) - m).powi(2)).sum::<f64>() / n;
                    let s = 1.0 / (variance + f64::from(1e-3_f32)).sqrt();
                    let normal: Vec<f64> = (0..dim).map(|i| (at(&x, i) - m) * s).collect();
                    let g: Vec<f64> = (0..dim).map(|i| at(&dy, i) * f64::from(gamma[i])).collect();
                    let mean_g = g.iter().sum::<f64>() / n;
                    let mean_gx = g.iter().zip(&normal).map(|(g, x)| g * x).sum::<f64>() / n;
                    for i in 0..dim {
                        ey.push(normal[i] * f64::from(gamma[i]) + f64::from(beta[i]));
                        edx.push(s * (g[i] - mean_g - normal[i] * mean_gx));
                        edgamma[i] += at(&dy, i) * normal[i];
                        edbeta[i] += at(&dy, i);
                    }
                }
                assert_close(&y, &ey, 2e-6, &what);
                assert_close(&dx, &edx, 5e-6, &what);
                assert_close(&dgamma, &edgamma, 5e-6, &what);
                assert_close(&dbeta, &edbeta, 5e-6, &what);
            }
        });
    }
}
