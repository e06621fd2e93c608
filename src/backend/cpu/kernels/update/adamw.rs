//! AdamW: its update in one pass over the memory.

use super::{super::isa::multiversion, Step};
use crate::graph::optimizers::Optimizer;

/// What an update multiplies by.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rates {
    /// `α = lr·√(1 - β₂ᵗ) / (1 - β₁ᵗ)`
    alpha: f32,
    /// The share of the parameter that decays.
    decay: f32,
    /// `1 - β₁`
    keep_1: f32,
    /// `1 - β₂`
    keep_2: f32,
    epsilon: f32,
    /// What the gradient is multiplied by.
    clip: f32,
}

#[inline(always)]
fn step_generic<const FMA: bool>(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], rates: &Rates) {
    assert!(grad.len() == param.len() && m.len() == param.len() && v.len() == param.len());
    let Rates { alpha, decay, keep_1, keep_2, epsilon, clip } = *rates;
    for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
        let (g, decayed) = (g * clip, *p - *p * decay);
        *m += (g - *m) * keep_1;
        *v += (g * g - *v) * keep_2;
        *p = decayed - *m * alpha / (v.sqrt() + epsilon);
    }
}

multiversion! {
    fn step(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], rates: &Rates) = step_generic;
}

/// The kernel of an AdamW with its numbers.
pub fn rule(optimizer: &Optimizer) -> Step {
    let keep = |beta| 1.0 - optimizer.option(beta);
    let (keep_1, keep_2, epsilon) = (keep("beta_1"), keep("beta_2"), optimizer.option("epsilon"));
    Box::new(move |scalars, gradient, states| {
        let (&[decay, alpha, ref clip @ ..], [param, m, v]) = (scalars, states) else { return };
        let clip = clip.first().copied().unwrap_or(1.0);
        step(param, gradient, m, v, &Rates { alpha, decay, keep_1, keep_2, epsilon, clip });
    })
}
