use super::rows;

/// Mean over the images of the cross-entropy of `softmax(logits)` with the labels: `log(sum(exp(z))) - z[label]`, in f64.
/// Engines compute their own; this is for logits that none of them made.
///
/// Logits are `[batch, classes]`, labels `[batch]`, each less than `classes`.
pub fn cross_entropy(logits: &[f32], labels: &[u32]) -> f32 {
    let of_row = |(row, label): (&[f32], usize)| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        sum.ln() - f64::from(row[label] - largest)
    };
    (rows(logits, labels).map(of_row).sum::<f64>() / labels.len().max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::cross_entropy;

    #[test]
    fn is_the_logarithm_of_the_share() {
        // Shares 1/4, 1/2, 1/4 and 1/3 each; large logits overflow nothing.
        let two = 2.0_f32.ln();
        let logits = [0.0, two, 0.0, 500.0, 500.0, 500.0];
        let expected = (4.0_f64.ln() + 3.0_f64.ln()) / 2.0;
        assert!((f64::from(cross_entropy(&logits, &[2, 0])) - expected).abs() < 1e-6);
        assert_eq!(cross_entropy(&[], &[]), 0.0);
    }
}
