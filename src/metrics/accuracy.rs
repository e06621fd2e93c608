use super::rows;

/// How many rows of logits `[batch, classes]` are largest at their label. Among equal logits the
/// first counts as the largest, as in Keras' `sparse_categorical_accuracy` (argmax).
pub fn accuracy(logits: &[f32], labels: &[u32]) -> u64 {
    rows(logits, labels).filter(|(row, label)| first_largest(row) == *label).count() as u64
}

/// The class of a row of logits: the first of the largest.
pub fn first_largest(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (class, &logit)| if logit > row[best] { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::accuracy;

    #[test]
    fn ties_go_to_the_first() {
        assert_eq!(accuracy(&[1.0, 1.0, 0.0, 0.0, 2.0, 2.0], &[0, 2]), 1);
    }
}
