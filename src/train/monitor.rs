//! Which epoch's weights are the best.

use serde::{Deserialize, Serialize};

use crate::trial::Epoch;

/// What is compared first. Among epochs that are equal in it the other one decides, and among those
/// that are equal in both the first is kept. Without validation images nothing is chosen: the last epoch counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

    /// Whether an epoch is better than the best before it. One that was not validated is: figures of training say
    /// nothing of other images.
    pub fn better(self, epoch: &Epoch, best: &Epoch) -> bool {
        let ((Some(accuracy), Some(loss)), (Some(best_accuracy), Some(best_loss))) =
            ((epoch.val_accuracy, epoch.val_loss), (best.val_accuracy, best.val_loss))
        else {
            return true;
        };
        let more_accurate = accuracy.total_cmp(&best_accuracy);
        let less_lost = best_loss.total_cmp(&loss);
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
        let falling = [(1.0, 0.0737), (1.0, 0.0076), (1.0, 0.0035), (1.0, 0.0023)];
        assert_eq!(best(Monitor::ValAccuracy, &falling, true), 4);
        let figures = [(0.5, 0.9), (0.8, 0.7), (0.8, 0.6), (0.8, 0.6), (0.7, 0.1), (0.6, 0.1)];
        assert_eq!(best(Monitor::ValAccuracy, &figures, true), 3);
        assert_eq!(best(Monitor::ValLoss, &figures, true), 5);
    }

    #[test]
    fn without_validation_the_last_epoch_counts() {
        let figures = [(0.5, 0.9), (0.8, 0.1), (0.7, 0.6)];
        for monitor in [Monitor::ValAccuracy, Monitor::ValLoss] {
            assert_eq!(best(monitor, &figures, false), 3);
        }
    }
}
