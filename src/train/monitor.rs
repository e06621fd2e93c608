//! Which epoch's weights are the best.

use serde::{Deserialize, Serialize};

use crate::trial::Epoch;

/// What is compared first. Among epochs that are equal in it the other one decides, and among those
/// that are equal in both the first is kept. Without a validation split it is the training figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// The highest accuracy, then the lowest loss.
    #[default]
    ValAccuracy,
    /// The lowest loss, then the highest accuracy.
    ValLoss,
}

impl Monitor {
    /// Left out where an experiment is written: the identity of those that do not name it stays.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an epoch is better than the best before it.
    pub fn better(self, epoch: &Epoch, best: &Epoch) -> bool {
        let loss = |epoch: &Epoch| epoch.val_loss.unwrap_or(epoch.loss);
        let more_accurate = epoch.score().total_cmp(&best.score());
        let less_lost = loss(best).total_cmp(&loss(epoch));
        match self {
            Self::ValAccuracy => more_accurate.then(less_lost).is_gt(),
            Self::ValLoss => less_lost.then(more_accurate).is_gt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Means;

    fn best(monitor: Monitor, figures: &[(f64, f64)], validated: bool) -> u32 {
        let epochs = figures.iter().zip(1..).map(|(&(accuracy, loss), number)| {
            let means = Means { loss, accuracy, top_5_accuracy: 1.0 };
            // What is not compared would decide the other way.
            let other = Means { loss: 10.0 - loss, accuracy: 1.0 - accuracy, top_5_accuracy: 1.0 };
            let (train, validation) = if validated { (other, Some(means)) } else { (means, None) };
            Epoch::new(number, train, validation, 1e-3)
        });
        epochs.reduce(|best, epoch| if monitor.better(&epoch, &best) { epoch } else { best }).unwrap().epoch
    }

    #[test]
    fn the_other_figure_decides_among_equals() {
        for validated in [true, false] {
            let falling = [(1.0, 0.0737), (1.0, 0.0076), (1.0, 0.0035), (1.0, 0.0023)];
            assert_eq!(best(Monitor::ValAccuracy, &falling, validated), 4);
            let figures = [(0.5, 0.9), (0.8, 0.7), (0.8, 0.6), (0.8, 0.6), (0.7, 0.1), (0.6, 0.1)];
            assert_eq!(best(Monitor::ValAccuracy, &figures, validated), 3);
            assert_eq!(best(Monitor::ValLoss, &figures, validated), 5);
        }
    }
}
