//! The AdamW update (Loshchilov & Hutter 2019) as `keras.optimizers.AdamW` does it.

use super::isa::multiversion;

#[inline(always)]
fn step_generic<const FMA: bool>(
    param: &mut [f32],
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    lr: f32,
    wd: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    t: u64,
) {
    assert!(grad.len() == param.len() && m.len() == param.len() && v.len() == param.len());
    // Powers in f64: 0.999^t in f32 would drift over a long training.
    let power = |beta: f32| f64::from(beta).powf(t as f64);
    let alpha = (f64::from(lr) * (1.0 - power(beta2)).sqrt() / (1.0 - power(beta1))) as f32;
    let (decay, keep1, keep2) = (lr * wd, 1.0 - beta1, 1.0 - beta2);
    for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
        let decayed = *p - *p * decay;
        *m += (g - *m) * keep1;
        *v += (g * g - *v) * keep2;
        *p = decayed - *m * alpha / (v.sqrt() + eps);
    }
}

multiversion! {
    /// One update in one pass over the memory: `param -= param·wd·lr`, then with the new moments
    /// `m += (g - m)(1 - β₁)` and `v += (g² - v)(1 - β₂)`, `param -= α·m / (√v + eps)` where
    /// `α = lr·√(1 - β₂ᵗ) / (1 - β₁ᵗ)`. `t` counts updates from 1.
    pub fn step(
        param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32],
        lr: f32, wd: f32, beta1: f32, beta2: f32, eps: f32, t: u64,
    ) = step_generic;
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
                    step(&mut p, &g, &mut m, &mut v, 0.01, 0.1, 0.9, 0.999, 1e-7, t);
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
