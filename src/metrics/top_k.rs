use super::rows;

/// How many rows of logits `[batch, classes]` have their label among the `k` largest, as
/// TensorFlow's `in_top_k` (behind Keras' `SparseTopKCategoricalAccuracy`) decides it: fewer than
/// `k` logits are strictly larger. A label whose logit is not finite never counts.
pub fn top_k(k: usize, logits: &[f32], labels: &[u32]) -> u64 {
    let within = |row: &[f32], label: usize| {
        let own = row.get(label).copied().filter(|logit| logit.is_finite());
        own.is_some_and(|own| row.iter().filter(|logit| **logit > own).count() < k)
    };
    rows(logits, labels).filter(|(row, label)| within(row, *label)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::top_k;

    #[test]
    fn counts_strictly_larger_logits() {
        let row = [5.0, 4.0, 3.0, 3.0, 1.0];
        assert_eq!(top_k(3, &row, &[3]), 1);
        assert_eq!(top_k(2, &row, &[3]), 0);
        assert_eq!(top_k(5, &[f32::NAN, 0.0], &[0]), 0);
    }
}
