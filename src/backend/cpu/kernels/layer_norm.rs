//! Layer normalisation over the last axis (Ba, Kiros & Hinton 2016).

use super::isa::{madd, multiversion};
use super::lanes;

#[inline(always)]
fn forward_generic<const FMA: bool>(
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
    let count = 1.0 / dim as f32;
    for ((x, y), (mean, rstd)) in
        x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)).zip(mean.iter_mut().zip(rstd.iter_mut()))
    {
        // Two passes: the row is in the first-level cache, and the variance does not cancel.
        let m = lanes::sum_by(dim, |i| x[i]) * count;
        let variance = lanes::sum_by(dim, |i| (x[i] - m) * (x[i] - m)) * count;
        let r = 1.0 / (variance + eps).sqrt();
        for (((y, x), gamma), &beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
            *y = madd::<FMA>((x - m) * r, *gamma, beta);
        }
        *mean = m;
        *rstd = r;
    }
}

#[inline(always)]
fn backward_generic<const FMA: bool>(
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
    let count = 1.0 / dim as f32;
    for (((x, dy), dx), (&m, &r)) in
        x.chunks_exact(dim).zip(dy.chunks_exact(dim)).zip(dx.chunks_exact_mut(dim)).zip(mean.iter().zip(rstd))
    {
        let (sum, sum_x) = lanes::sum_pair_by(dim, |i| {
            let g = dy[i] * gamma[i];
            (g, g * ((x[i] - m) * r))
        });
        let (mean_g, mean_gx) = (sum * count, sum_x * count);
        for i in 0..dim {
            let normal = (x[i] - m) * r;
            dgamma[i] = madd::<FMA>(dy[i], normal, dgamma[i]);
            dbeta[i] += dy[i];
            dx[i] = r * (dy[i] * gamma[i] - mean_g - normal * mean_gx);
        }
    }
}

multiversion! {
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
