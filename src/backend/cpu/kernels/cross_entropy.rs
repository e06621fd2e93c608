//! Softmax cross-entropy from logits and class indices.

use super::exp::exp;
use super::isa::multiversion;
use super::lanes;

/// The class that a label names.
///
/// # Panics
/// When it names none.
#[inline(always)]
fn class(label: f32, classes: usize) -> usize {
    let class = label as usize;
    assert!(label >= 0.0 && class < classes, "label {label} of {classes} classes");
    class
}

/// What a row of logits is held to.
pub(super) struct Target {
    pub label: usize,
    pub other: usize,
    /// Of the first label.
    pub share: f32,
    /// Of the row, in the sum of all.
    pub weight: f32,
}

/// The target of a row: labels `[rows]`, or `[rows, 3]` of label, other one and share; weights by class, or none. The loss is linear
/// in the target, so that of two labels with weights of their own is one weight with another share.
#[inline(always)]
pub(super) fn target(labels: &[f32], row: usize, rows: usize, classes: usize, class_weights: &[f32]) -> Target {
    let (label, other, share) = if labels.len() == rows {
        let label = class(labels[row], classes);
        (label, label, 1.0)
    } else {
        (class(labels[3 * row], classes), class(labels[3 * row + 1], classes), labels[3 * row + 2])
    };
    if class_weights.is_empty() {
        return Target { label, other, share, weight: 1.0 };
    }
    let own = share * class_weights[label];
    let weight = own + (1.0 - share) * class_weights[other];
    Target { label, other, share: if weight > 0.0 { own / weight } else { share }, weight }
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
    let mixed = labels.len() != rows;
    for (number, (row, loss)) in logits.chunks_exact(classes).zip(loss).enumerate() {
        let Target { label, other, share, weight } = target(labels, number, rows, classes, class_weights);
        let max = lanes::max(row);
        let sum = lanes::sum_by(classes, |i| exp::<FMA>(row[i] - max));
        let mut own = max - row[label];
        if mixed {
            own = share * own + (1.0 - share) * (max - row[other]);
        }
        *loss = sum.ln() + own;
        if smoothing != 0.0 {
            let mean = lanes::sum_by(classes, |i| max - row[i]) / classes as f32;
            *loss = sum.ln() + ((1.0 - smoothing) * own + smoothing * mean);
        }
        *loss *= weight;
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
    let mixed = labels.len() != rows;
    for (number, (row, out)) in logits.chunks_exact(classes).zip(dlogits.chunks_exact_mut(classes)).enumerate() {
        let Target { label, other, share, weight } = target(labels, number, rows, classes, class_weights);
        let max = lanes::max(row);
        for (out, x) in out.iter_mut().zip(row) {
            *out = exp::<FMA>(x - max);
        }
        let row_scale = dloss_scale * weight;
        let scale = row_scale / lanes::sum_by(classes, |i| out[i]);
        for out in out.iter_mut() {
            *out *= scale;
        }
        let mut rest = row_scale;
        if smoothing != 0.0 {
            let each = row_scale * (smoothing / classes as f32);
            for out in out.iter_mut() {
                *out -= each;
            }
            rest = row_scale * (1.0 - smoothing);
        }
        if mixed {
            out[label] -= rest * share;
            out[other] -= rest * (1.0 - share);
        } else {
            out[label] -= rest;
        }
    }
}

multiversion! {
    /// `loss[r] = log Σ exp(logits[r, :]) - Σ target[r, :] logits[r, :]`, where the target is
    /// `(1 - smoothing) one_hot(labels[r]) + smoothing / classes`. `logits`: `[rows, classes]`;
    /// `labels`: class indices, `[rows]`, or `[rows, 3]`, of which a row (a, b, w) has
    /// `w one_hot(a) + (1 - w) one_hot(b)` for its `one_hot`; `class_weights`: `[classes]`, by which the loss of a label is
    /// multiplied, or empty; `loss`: `[rows]`, not averaged.
    pub fn forward(
        rows: usize, classes: usize, logits: &[f32], labels: &[f32], smoothing: f32, class_weights: &[f32],
        loss: &mut [f32],
    ) = forward_generic;
    /// `dlogits = (softmax(logits) - target) · dloss_scale`, where the scale is the gradient
    /// of each row's loss: `1 / batch` for a mean.
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
            for (rows, classes) in [(1, 1), (3, 2), (2, 7), (5, 10), (3, 100), (2, 1000)] {
                let logits: Vec<f32> = noise(1, rows * classes).iter().map(|x| 30.0 * x).collect();
                let labels: Vec<f32> = (0..rows).map(|r| (r * 7 % classes) as f32).collect();
                for smoothing in [0.0, 0.1, 0.75] {
                    let (mut loss, mut grad) = (vec![0.0; rows], vec![0.0; rows * classes]);
                    forward(rows, classes, &logits, &labels, smoothing, &[], &mut loss);
                    backward(rows, classes, &logits, &labels, smoothing, &[], 0.25, &mut grad);
                    let (mut eloss, mut egrad) = (Vec::new(), Vec::new());
                    let smoothing = f64::from(smoothing);
                    for (row, &label) in logits.chunks_exact(classes).zip(&labels) {
                        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                        let target = |i: usize| {
                            (1.0 - smoothing) * f64::from(u8::from(i == label as usize)) + smoothing / classes as f64
                        };
                        let chosen: f64 = (0..classes).map(|i| target(i) * f64::from(row[i])).sum();
                        eloss.push(sum.ln() - chosen);
                        egrad.extend((0..classes).map(|i| 0.25 * (f64::from(row[i]).exp() / sum - target(i))));
                    }
                    let what = format!("{isa:?} {rows}x{classes} {smoothing}");
                    assert_close(&loss, &eloss, 2e-6, &what);
                    assert_close(&grad, &egrad, 1e-6, &what);
                }
            }
        });
    }

    /// The loss is linear in the target: with weights, each label brings its own, of either loss.
    #[test]
    fn weighted_targets_are_weighted_sums_of_both_labels() {
        use super::super::binary_cross_entropy as binary;
        let (rows, classes) = (6, 7);
        let logits: Vec<f32> = noise(3, rows * classes).iter().map(|x| 5.0 * x).collect();
        let shares = [0.0, 1.0, 0.25, 0.5, 0.9, 0.5];
        // One class counts for nothing; both labels of the last row are of it.
        let class_weights = [0.0, 2.0, 0.5, 1.0, 3.0, 0.25, 7.0];
        let [first, second] = [3, 5].map(|by| (0..rows).map(|r| (r * by % 5) as f32).collect::<Vec<_>>());
        assert_eq!((first[5], second[5]), (0.0, 0.0));
        let mixed: Vec<f32> = (0..rows).flat_map(|r| [first[r], second[r], shares[r]]).collect();
        for (smoothing, per_class) in [(0.0, false), (0.2, false), (0.0, true), (0.2, true)] {
            let run = |labels: &[f32], weights: &[f32]| {
                let (mut loss, mut grad) = (vec![0.0; rows], vec![0.0; rows * classes]);
                let forward = if per_class { binary::forward } else { forward };
                let backward = if per_class { binary::backward } else { backward };
                forward(rows, classes, &logits, labels, smoothing, weights, &mut loss);
                backward(rows, classes, &logits, labels, smoothing, weights, 0.5, &mut grad);
                (loss, grad)
            };
            let [a, b] = [&first, &second].map(|labels| run(labels, &[]));
            let weight = |labels: &[f32], row: usize| f64::from(class_weights[labels[row] as usize]);
            let sum = |a: &[f32], b: &[f32], share: &dyn Fn(usize) -> f64| -> Vec<f64> {
                let of = |at: usize| {
                    let row = at * rows / a.len();
                    share(row) * weight(&first, row) * f64::from(a[at])
                        + (1.0 - share(row)) * weight(&second, row) * f64::from(b[at])
                };
                (0..a.len()).map(of).collect()
            };
            let share = |row: usize| f64::from(shares[row]);
            for (labels, share) in [(&mixed, &share as &dyn Fn(usize) -> f64), (&first, &|_| 1.0)] {
                let weighted = run(labels, &class_weights);
                assert_close(&weighted.0, &sum(&a.0, &b.0, share), 2e-6, "loss");
                assert_close(&weighted.1, &sum(&a.1, &b.1, share), 1e-6, "gradient");
            }
        }
    }

    /// The loss is linear in the target.
    #[test]
    fn mixed_targets_are_between_those_of_both_labels() {
        let (rows, classes) = (5, 7);
        let logits: Vec<f32> = noise(3, rows * classes).iter().map(|x| 5.0 * x).collect();
        let weights = [0.0, 1.0, 0.25, 0.5, 0.9];
        let [first, second] = [3, 5].map(|by| (0..rows).map(|r| (r * by % classes) as f32).collect::<Vec<_>>());
        let mixed: Vec<f32> = (0..rows).flat_map(|r| [first[r], second[r], weights[r]]).collect();
        for smoothing in [0.0, 0.2] {
            let [a, b, both] = [&first, &second, &mixed].map(|labels| {
                let (mut loss, mut grad) = (vec![0.0; rows], vec![0.0; rows * classes]);
                forward(rows, classes, &logits, labels, smoothing, &[], &mut loss);
                backward(rows, classes, &logits, labels, smoothing, &[], 0.5, &mut grad);
                (loss, grad)
            });
            let between = |a: &[f32], b: &[f32]| -> Vec<f64> {
                let weight = |at: usize| f64::from(weights[at * rows / a.len()]);
                let of = |at: usize| weight(at) * f64::from(a[at]) + (1.0 - weight(at)) * f64::from(b[at]);
                (0..a.len()).map(of).collect()
            };
            assert_close(&both.0, &between(&a.0, &b.0), 2e-6, "loss");
            assert_close(&both.1, &between(&a.1, &b.1), 1e-6, "gradient");
        }
    }

    #[test]
    #[should_panic(expected = "label 10 of 10 classes")]
    fn a_label_out_of_range() {
        forward(1, 10, &[0.0; 10], &[10.0], 0.0, &[], &mut [0.0]);
    }
}
