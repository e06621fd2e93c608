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

#[inline(always)]
fn forward_generic<const FMA: bool>(
    rows: usize,
    classes: usize,
    logits: &[f32],
    labels: &[f32],
    smoothing: f32,
    loss: &mut [f32],
) {
    assert!(logits.len() == rows * classes && labels.len() == rows && loss.len() == rows);
    if rows == 0 {
        return;
    }
    for ((row, &label), loss) in logits.chunks_exact(classes).zip(labels).zip(loss) {
        let max = lanes::max(row);
        let sum = lanes::sum_by(classes, |i| exp::<FMA>(row[i] - max));
        let own = max - row[class(label, classes)];
        *loss = sum.ln() + own;
        if smoothing != 0.0 {
            let mean = lanes::sum_by(classes, |i| max - row[i]) / classes as f32;
            *loss = sum.ln() + ((1.0 - smoothing) * own + smoothing * mean);
        }
    }
}

#[inline(always)]
fn backward_generic<const FMA: bool>(
    rows: usize,
    classes: usize,
    logits: &[f32],
    labels: &[f32],
    smoothing: f32,
    dloss_scale: f32,
    dlogits: &mut [f32],
) {
    assert!(logits.len() == rows * classes && labels.len() == rows && dlogits.len() == rows * classes);
    if rows == 0 {
        return;
    }
    for ((row, &label), out) in logits.chunks_exact(classes).zip(labels).zip(dlogits.chunks_exact_mut(classes)) {
        let max = lanes::max(row);
        for (out, x) in out.iter_mut().zip(row) {
            *out = exp::<FMA>(x - max);
        }
        let scale = dloss_scale / lanes::sum_by(classes, |i| out[i]);
        for out in out.iter_mut() {
            *out *= scale;
        }
        if smoothing == 0.0 {
            out[class(label, classes)] -= dloss_scale;
        } else {
            let each = dloss_scale * (smoothing / classes as f32);
            for out in out.iter_mut() {
                *out -= each;
            }
            out[class(label, classes)] -= dloss_scale * (1.0 - smoothing);
        }
    }
}

multiversion! {
    /// `loss[r] = log Σ exp(logits[r, :]) - Σ target[r, :] logits[r, :]`, where the target is
    /// `(1 - smoothing) one_hot(labels[r]) + smoothing / classes`. `logits`: `[rows, classes]`;
    /// `labels`: class indices, `[rows]`; `loss`: `[rows]`, not averaged.
    pub fn forward(
        rows: usize, classes: usize, logits: &[f32], labels: &[f32], smoothing: f32, loss: &mut [f32],
    ) = forward_generic;
    /// `dlogits = (softmax(logits) - target) · dloss_scale`, where the scale is the gradient
    /// of each row's loss: `1 / batch` for a mean.
    pub fn backward(
        rows: usize, classes: usize, logits: &[f32], labels: &[f32], smoothing: f32, dloss_scale: f32,
        dlogits: &mut [f32],
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
                    forward(rows, classes, &logits, &labels, smoothing, &mut loss);
                    backward(rows, classes, &logits, &labels, smoothing, 0.25, &mut grad);
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

    #[test]
    #[should_panic(expected = "label 10 of 10 classes")]
    fn a_label_out_of_range() {
        forward(1, 10, &[0.0; 10], &[10.0], 0.0, &mut [0.0]);
    }
}
