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

/// `average += (param - average) share`
#[inline(always)]
fn average_generic<const FMA: bool>(param: &[f32], average: &mut [f32], share: f32) {
    assert_eq!(param.len(), average.len());
    for (&p, average) in param.iter().zip(average) {
        *average += (p - *average) * share;
    }
}

multiversion! {
    fn average(param: &[f32], average: &mut [f32], share: f32) = average_generic;
    fn step(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], rates: &Rates) = step_generic;
}

/// The kernel of an AdamW with its numbers.
pub fn rule(optimizer: &Optimizer) -> Step {
    let keep = |beta| 1.0 - optimizer.option(beta);
    let (keep_1, keep_2, epsilon) = (keep("beta_1"), keep("beta_2"), optimizer.option("epsilon"));
    let (clipped, averaged) = (optimizer.clip_norm.is_some(), optimizer.ema.is_some());
    Box::new(move |scalars, gradient, states| {
        let (&[decay, alpha, ref more @ ..], [param, m, v, averages @ ..]) = (scalars, states) else { return };
        let clip = if clipped { more.last().copied().unwrap_or(1.0) } else { 1.0 };
        step(param, gradient, m, v, &Rates { alpha, decay, keep_1, keep_2, epsilon, clip });
        if let ([averages], true) = (averages, averaged) {
            average(param, averages, more[0]);
        }
    })
}
