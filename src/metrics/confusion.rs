use super::rows;

/// How many images of each class were taken for which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[classes, classes]`: of each label a row, of each prediction a column.
    counts: Vec<u64>,
}

/// How well one class is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassCounts {
    /// Of this class.
    pub images: u64,
    /// Taken for this class.
    pub predicted: u64,
    /// Both.
    pub correct: u64,
}

/// Images of one class that were taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confused {
    /// What they are.
    pub label: usize,
    /// What they were taken for.
    pub predicted: usize,
    /// How many.
    pub images: u64,
}

impl ClassCounts {
    /// The share of the images taken for this class that are of it; `None` where none was.
    pub fn precision(&self) -> Option<f64> {
        share(self.correct, self.predicted)
    }

    /// The share of its images that were taken for this class; `None` where it has none.
    pub fn recall(&self) -> Option<f64> {
        share(self.correct, self.images)
    }

    /// The harmonic mean of precision and recall, `2 correct / (images + predicted)`; `None` where neither an image nor
    /// a prediction is of this class.
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.correct, self.images + self.predicted)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Confusion {
    /// Of a network with so many classes, before any image.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Adds a batch: logits `[batch, classes]` and labels `[batch]`. The prediction is the first of the largest logits, as
    /// that of [`accuracy`](super::accuracy()).
    ///
    /// # Panics
    /// On logits of another number of classes.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        for (row, label) in rows(logits, labels) {
            assert_eq!(row.len(), self.classes, "logits of another network");
            self.counts[label * self.classes + super::accuracy::first_largest(row)] += 1;
        }
    }

    /// `[classes]`: how many images of a label were taken for each class.
    pub fn row(&self, label: usize) -> &[u64] {
        &self.counts[label * self.classes..][..self.classes]
    }

    /// By class.
    pub fn classes(&self) -> impl Iterator<Item = ClassCounts> + '_ {
        (0..self.classes).map(|class| ClassCounts {
            images: self.row(class).iter().sum(),
            predicted: (0..self.classes).map(|label| self.row(label)[class]).sum(),
            correct: self.row(class)[class],
        })
    }

    /// Means over the classes that have images, each counting as much, of precision, recall and F1: scikit-learn's "macro
    /// avg". A class that nothing was taken for has a precision of 0.
    pub fn means(&self) -> [f64; 3] {
        let mut sums = [0.0; 3];
        let mut count = 0;
        for class in self.classes().filter(|class| class.images > 0) {
            let values = [class.precision(), class.recall(), class.f1()];
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value.unwrap_or(0.0));
            count += 1;
        }
        sums.map(|sum| sum / f64::from(count.max(1)))
    }

    /// What was taken for something else, most images first.
    pub fn confused(&self) -> Vec<Confused> {
        let cells = self.counts.iter().enumerate();
        let all =
            cells.map(|(at, &images)| Confused { label: at / self.classes, predicted: at % self.classes, images });
        let mut wrong: Vec<Confused> = all.filter(|cell| cell.images > 0 && cell.label != cell.predicted).collect();
        wrong.sort_by_key(|cell| std::cmp::Reverse(cell.images));
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three classes, the last of which nobody predicts; the values are scikit-learn's `classification_report`.
    #[test]
    fn counts_by_hand() {
        let mut confusion = Confusion::new(4);
        let one = |class: usize| (0..4).map(move |at| f32::from(u8::from(at == class)));
        let predicted = [0, 0, 1, 1, 1, 0];
        let logits: Vec<f32> = predicted.into_iter().flat_map(one).collect();
        confusion.add(&logits[..8], &[0, 0]);
        confusion.add(&logits[8..], &[0, 1, 2, 2]);
        let classes: Vec<ClassCounts> = confusion.classes().collect();
        assert_eq!(classes[0], ClassCounts { images: 3, predicted: 3, correct: 2 });
        assert_eq!(
            (classes[1].precision(), classes[1].recall(), classes[1].f1()),
            (Some(1.0 / 3.0), Some(1.0), Some(0.5))
        );
        assert_eq!((classes[2].precision(), classes[2].recall(), classes[2].f1()), (None, Some(0.0), Some(0.0)));
        assert_eq!((classes[3].precision(), classes[3].recall(), classes[3].f1()), (None, None, None));
        let means = confusion.means();
        let expected = [1.0 / 3.0, (2.0 / 3.0 + 1.0) / 3.0, (2.0 / 3.0 + 0.5) / 3.0];
        assert!(means.iter().zip(expected).all(|(mean, expected)| (mean - expected).abs() < 1e-12), "{means:?}");
        let one = |label, predicted| Confused { label, predicted, images: 1 };
        assert_eq!(confusion.confused(), [one(0, 1), one(2, 0), one(2, 1)]);
        assert_eq!(confusion.row(2), [1, 1, 0, 0]);
    }
}
