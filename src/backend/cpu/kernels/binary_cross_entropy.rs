//! Binary cross-entropy of each class, from logits and class indices.

use super::{
    cross_entropy::{Target, target},
    exp::exp,
    isa::multiversion,
    lanes,
};

/// `ln(1 + e^x)` without overflow.
#[inline(always)]
fn softplus<const FMA: bool>(x: f32) -> f32 {
    x.max(0.0) + exp::<FMA>(-x.abs()).ln_1p()
}

#[inline(always)]
fn forward_generic<const FMA: bool>(
    rows: usize,
    classes: usize,
    logits: &[f32],
    labels: &[f32],
    smoothing: f32,
    class_weights: &[f32],
    loss: &mut [f32],
) {
    assert!(logits.len() == rows * classes && loss.len() == rows);
    assert!(labels.len() == rows || labels.len() == 3 * rows);
    if rows == 0 {
        return;
    }
    for (number, (row, loss)) in logits.chunks_exact(classes).zip(loss).enumerate() {
        let Target { label, other, share, weight } = target(labels, number, rows, classes, class_weights);
        let sum = lanes::sum_by(classes, |i| softplus::<FMA>(row[i]));
        let mut own = row[label];
        if other != label {
            own = share * own + (1.0 - share) * row[other];
        }
        if smoothing != 0.0 {
            own = (1.0 - smoothing) * own + smoothing * (lanes::sum_by(classes, |i| row[i]) / classes as f32);
        }
        *loss = (sum - own) / classes as f32 * weight;
    }
}

#[inline(always)]
fn backward_generic<const FMA: bool>(
    rows: usize,
    classes: usize,
    logits: &[f32],
    labels: &[f32],
    smoothing: f32,
    class_weights: &[f32],
    dloss_scale: f32,
    dlogits: &mut [f32],
) {
    assert!(logits.len() == rows * classes && dlogits.len() == rows * classes);
    assert!(labels.len() == rows || labels.len() == 3 * rows);
    if rows == 0 {
        return;
    }
    let each = smoothing / classes as f32;
    for (number, (row, out)) in logits.chunks_exact(classes).zip(dlogits.chunks_exact_mut(classes)).enumerate() {
        let Target { label, other, share, weight } = target(labels, number, rows, classes, class_weights);
        let scale = dloss_scale / classes as f32 * weight;
        let rest = scale * (1.0 - smoothing);
        for (out, &x) in out.iter_mut().zip(row) {
            // Of a large negative logit the exponential is cut off: the quotient is next to nothing then.
            let sigmoid = 1.0 / (1.0 + exp::<FMA>((-x).min(87.0)));
            *out = scale * (sigmoid - each);
        }
        out[label] -= rest * share;
        out[other] -= rest * (1.0 - share);
    }
}

multiversion! {
    /// `loss[r] = Σ (softplus(logits[r, :]) - target[r, :] logits[r, :]) / classes`. Operands as of
    /// [`super::cross_entropy::forward`].
    pub fn forward(
        rows: usize, classes: usize, logits: &[f32], labels: &[f32], smoothing: f32, class_weights: &[f32],
        loss: &mut [f32],
    ) = forward_generic;
    /// `dlogits = (sigmoid(logits) - target) · dloss_scale / classes`. Operands as of [`super::cross_entropy::backward`].
    pub fn backward(
        rows: usize, classes: usize, logits: &[f32], labels: &[f32], smoothing: f32, class_weights: &[f32],
        dloss_scale: f32, dlogits: &mut [f32],
    ) = backward_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{assert_close, noise, on_each_isa};

    #[test]
    fn against_f64() {
        on_each_isa(|isa| {
            for (rows, classes) in [(1, 1), (3, 2), (2, 7), (5, 10), (3, 100)] {
                let logits: Vec<f32> = noise(1, rows * classes).iter().map(|x| 30.0 * x).collect();
                let weights = [0.0, 1.0, 0.25, 0.5, 0.9];
                let pair = |r: usize| [r * 7 % classes, r * 5 % classes];
                let labels: Vec<f32> =
                    (0..rows).flat_map(|r| [pair(r)[0] as f32, pair(r)[1] as f32, weights[r]]).collect();
                for smoothing in [0.0, 0.1, 0.75] {
                    let (mut loss, mut grad) = (vec![0.0; rows], vec![0.0; rows * classes]);
                    forward(rows, classes, &logits, &labels, smoothing, &[], &mut loss);
                    backward(rows, classes, &logits, &labels, smoothing, &[], 0.25, &mut grad);
                    let (mut eloss, mut egrad) = (Vec::new(), Vec::new());
                    let smoothing = f64::from(smoothing);
                    for (r, row) in logits.chunks_exact(classes).enumerate() {
                        let weight = f64::from(weights[r]);
                        let one = |at: usize, i: usize| f64::from(u8::from(pair(r)[at] == i));
                        let target = |i: usize| {
                            (1.0 - smoothing) * (weight * one(0, i) + (1.0 - weight) * one(1, i))
                                + smoothing / classes as f64
                        };
                        let sigmoid = |i: usize| 1.0 / (1.0 + (-f64::from(row[i])).exp());
                        let each = |i: usize| {
                            let other = 1.0 / (1.0 + f64::from(row[i]).exp());
                            -target(i) * sigmoid(i).ln() - (1.0 - target(i)) * other.ln()
                        };
                        eloss.push((0..classes).map(each).sum::<f64>() / classes as f64);
                        egrad.extend((0..classes).map(|i| 0.25 * (sigmoid(i) - target(i)) / classes as f64));
                    }
                    let what = format!("{isa:?} {rows}x{classes} {smoothing}");
                    assert_close(&loss, &eloss, 4e-6, &what);
                    assert_close(&grad, &egrad, 1e-6, &what);
                }
            }
        });
    }

    #[test]
    fn large_logits_are_no_trouble() {
        let (mut loss, mut grad) = ([0.0], [0.0; 3]);
        let logits = [-1e30, 1e4, -1e4];
        forward(1, 3, &logits, &[1.0], 0.0, &[], &mut loss);
        backward(1, 3, &logits, &[1.0], 0.0, &[], 1.0, &mut grad);
        assert!(loss[0].abs() < 1e-6 && grad.iter().all(|value| value.abs() < 1e-6), "{loss:?} {grad:?}");
    }
}
