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
fn forward_generic<const FMA: bool>(rows: usize, classes: usize, logits: &[f32], labels: &[f32], loss: &mut [f32]) {
    assert!(logits.len() == rows * classes && labels.len() == rows && loss.len() == rows);
    if rows == 0 {
        return;
    }
    for ((row, &label), loss) in logits.chunks_exact(classes).zip(labels).zip(loss) {
        let max = lanes::max(row);
        let sum = lanes::sum_by(classes, |i| exp::<FMA>(row[i] - max));
        *loss = sum.ln() + (max - row[class(label, classes)]);
    }
}

#[inline(always)]
fn backward_generic<const FMA: bool>(
    rows: usize,
    classes: usize,
    logits: &[f32],
    labels: &[f32],
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
        out[class(label, classes)] -= dloss_scale;
    }
}

multiversion! {
    /// `loss[r] = log Σ exp(logits[r, :]) - logits[r, labels[r]]`. `logits`: `[rows, classes]`;
    /// `labels`: class indices, `[rows]`; `loss`: `[rows]`, not averaged.
    pub fn forward(rows: usize, classes: usize, logits: &[f32], labels: &[f32], loss: &mut [f32]) = forward_generic;
    /// `dlogits = (softmax(logits) - one_hot(labels)) · dloss_scale`, where the scale is the gradient
    /// of each row's loss: `1 / batch` for a mean.
    pub fn backward(
        rows: usize, classes: usize, logits: &[f32], labels: &[f32], dloss_scale: f32, dlogits: &mut [f32],
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
                let (mut loss, mut grad) = (vec![0.0; rows], vec![0.0; rows * classes]);
                forward(rows, classes, &logits, &labels, &mut loss);
                backward(rows, classes, &logits, &labels, 0.25, &mut grad);
                let (mut eloss, mut egrad) = (Vec::new(), Vec::new());
                for (row, &label) in logits.chunks_exact(classes).zip(&labels) {
                    let label = label as usize;
                    let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                    eloss.push(sum.ln() - f64::from(row[label]));
                    egrad.extend(
                        (0..classes).map(|i| 0.25 * (f64::from(row[i]).exp() / sum - f64::from(u8::from(i == label)))),
                    );
                }
                assert_close(&loss, &eloss, 2e-6, &format!("{isa:?} {rows}x{classes}"));
                assert_close(&grad, &egrad, 1e-6, &format!("{isa:?} {rows}x{classes}"));
            }
        });
    }

    #[test]
    #[should_panic(expected = "label 10 of 10 classes")]
    fn a_label_out_of_range() {
        forward(1, 10, &[0.0; 10], &[10.0], &mut [0.0]);
    }
}
