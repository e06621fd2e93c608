//! The AdamW update (Loshchilov & Hutter 2019) as `keras.optimizers.AdamW` does it.

pub mod dense;
pub mod panels;

use super::isa::multiversion;

/// What an update multiplies by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// `α = lr·√(1 - β₂ᵗ) / (1 - β₁ᵗ)`
    alpha: f32,
    /// `wd·lr`
    decay: f32,
    /// `1 - β₁`
    keep_1: f32,
    /// `1 - β₂`
    keep_2: f32,
    epsilon: f32,
}

impl Rates {
    /// Of update `t`, counted from 1. Powers are taken in `f64`: `0.999^t` in `f32` would drift over a long
    /// training.
    #[must_use]
    pub fn new(learning_rate: f32, weight_decay: f32, beta_1: f32, beta_2: f32, epsilon: f32, t: u64) -> Self {
        let power = |beta: f32| f64::from(beta).powf(t as f64);
        let correction = (1.0 - power(beta_2)).sqrt() / (1.0 - power(beta_1));
        Self {
            alpha: (f64::from(learning_rate) * correction) as f32,
            decay: learning_rate * weight_decay,
            keep_1: 1.0 - beta_1,
            keep_2: 1.0 - beta_2,
            epsilon,
        }
    }
}

#[inline(always)]
fn step_generic<const FMA: bool>(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], rates: &Rates) {
    assert!(grad.len() == param.len() && m.len() == param.len() && v.len() == param.len());
    let Rates { alpha, decay, keep_1, keep_2, epsilon } = *rates;
    for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
        let decayed = *p - *p * decay;
        *m += (g - *m) * keep_1;
        *v += (g * g - *v) * keep_2;
        *p = decayed - *m * alpha / (v.sqrt() + epsilon);
    }
}

multiversion! {
    /// One update in one pass over the memory: `param -= param·wd·lr`, then with the new moments
    /// `m += (g - m)(1 - β₁)` and `v += (g² - v)(1 - β₂)`, `param -= α·m / (√v + eps)`.
    pub fn step(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], rates: &Rates) = step_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{assert_close, noise, on_each_isa};

    #[test]
    fn against_f64() {
        on_each_isa(|isa| {
            for len in [1, 7, 33, 130] {
                let mut p = noise(1, len);
                let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
                let mut ep: Vec<f64> = p.iter().map(|&p| f64::from(p)).collect();
                let (mut em, mut ev) = (vec![0.0; len], vec![0.0; len]);
                for t in 1..=4 {
                    let g = noise(10 + t as u32, len);
                    step(&mut p, &g, &mut m, &mut v, &Rates::new(0.01, 0.1, 0.9, 0.999, 1e-7, t));
                    let alpha = 0.01 * (1.0 - 0.999_f64.powi(t as i32)).sqrt() / (1.0 - 0.9_f64.powi(t as i32));
                    for i in 0..len {
                        let g = f64::from(g[i]);
                        ep[i] -= ep[i] * 0.1 * 0.01;
                        em[i] += (g - em[i]) * 0.1;
                        ev[i] += (g * g - ev[i]) * 0.001;
                        ep[i] -= em[i] * alpha / (f64::sqrt(ev[i]) + 1e-7);
                    }
                }
                let what = format!("{isa:?} {len}");
                assert_close(&p, &ep, 1e-5, &what);
                assert_close(&m, &em, 1e-6, &what);
                assert_close(&v, &ev, 1e-6, &what);
            }
        });
    }
}
