use super::rows;

/// How many images of each class were recognised: what [`Confusion`](super::Confusion) knows of the classes alone, in a place for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassTally {
    /// `[classes]`: images of a label, and those of them that were taken for it.
    counts: Vec<[u64; 2]>,
}

impl ClassTally {
    /// Of so many classes, before any image.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![[0; 2]; classes] }
    }

    /// Adds a batch: logits `[batch, classes]` and labels `[batch]`. The prediction is the first of the largest logits, as
    /// that of [`accuracy`](super::accuracy()).
    ///
    /// # Panics
    /// On a label of no class.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        for (row, label) in rows(logits, labels) {
            let [images, correct] = &mut self.counts[label];
            *images += 1;
            *correct += u64::from(super::accuracy::first_largest(row) == label);
        }
    }

    /// By class: its images, and those of them that were recognised.
    pub fn counts(&self) -> &[[u64; 2]] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Confusion;

    #[test]
    fn classes_are_those_of_the_confusion() {
        let (mut tally, mut confusion) = (ClassTally::new(3), Confusion::new(3));
        let logits = [1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 3.0, 0.0, 2.0, 1.0];
        for labels in [[0, 1, 2, 2], [0, 0, 2, 1]] {
            tally.add(&logits, &labels);
            confusion.add(&logits, &labels);
        }
        let expected: Vec<[u64; 2]> = confusion.classes().map(|class| [class.images, class.correct]).collect();
        assert_eq!((tally.counts(), expected[0]), (&expected[..], [3, 3]));
    }
}
