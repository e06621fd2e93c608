//! Metrics, one file each. A metric sums over batches, so that a checkpoint within an epoch can
//! carry it.

mod accuracy;
mod confusion;
mod cross_entropy;
mod loss;
mod tally;
mod top_k;

use serde::{Deserialize, Serialize};

pub use accuracy::{accuracy, first_largest};
pub use confusion::{ClassCounts, Confused, Confusion};
pub use cross_entropy::cross_entropy;
pub use loss::weighted;
pub use tally::ClassTally;
pub use top_k::top_k;

/// Sums of an epoch so far, or of a whole split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Images that were counted.
    pub images: u64,
    /// Sum of the losses of single images.
    pub loss: f64,
    /// Images whose label has the largest logit.
    pub correct: u64,
    /// Images whose label is among the five largest logits.
    pub correct_top_5: u64,
}

/// Means over images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// The mean loss of an image.
    pub loss: f64,
    /// The share of images whose label has the largest logit.
    pub accuracy: f64,
    /// The share of images whose label is among the five largest logits.
    pub top_5_accuracy: f64,
}

impl Totals {
    /// Adds a batch: its mean loss, logits `[batch, classes]` and labels `[batch]`.
    pub fn add(&mut self, loss: f32, logits: &[f32], labels: &[u32]) {
        self.images += labels.len() as u64;
        self.loss += weighted(loss, labels.len());
        self.correct += accuracy(logits, labels);
        self.correct_top_5 += top_k(5, logits, labels);
    }

    /// Adds the sums over other images.
    pub fn add_totals(&mut self, other: &Self) {
        self.images += other.images;
        self.loss += other.loss;
        self.correct += other.correct;
        self.correct_top_5 += other.correct_top_5;
    }

    /// The means; zero when nothing was added.
    pub fn means(&self) -> Means {
        let images = self.images.max(1) as f64;
        Means {
            loss: self.loss / images,
            accuracy: self.correct as f64 / images,
            top_5_accuracy: self.correct_top_5 as f64 / images,
        }
    }
}

/// Rows of logits with their labels.
pub fn rows<'a>(logits: &'a [f32], labels: &'a [u32]) -> impl Iterator<Item = (&'a [f32], usize)> {
    let classes = (logits.len() / labels.len().max(1)).max(1);
    logits.chunks(classes).zip(labels.iter().map(|&label| label as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_batch_counts_by_its_images() {
        let mut totals = Totals::default();
        totals.add(1.0, &[0.0, 1.0, 1.0, 0.0], &[1, 1]);
        totals.add(4.0, &[0.0, 1.0], &[1]);
        assert_eq!(totals.means(), Means { loss: 2.0, accuracy: 2.0 / 3.0, top_5_accuracy: 1.0 });
        assert_eq!(Totals::default().means().loss, 0.0);
    }
}
