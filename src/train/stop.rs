//! When a training ends before its last epoch.

use super::Monitor;
use crate::trial::Epoch;

/// What ends a training early. Looked at after each epoch, in the record of all of them, so that a run that was killed
/// decides as one that was not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stop {
    /// So many epochs without a better one end it. Never without validation images.
    pub patience: Option<u32>,
    /// Which epoch is better.
    pub monitor: Monitor,
    /// So many seconds of training and validation end it, those of all processes.
    pub max_seconds: Option<f64>,
}

impl Stop {
    /// Why the training ends after the last of these epochs, if it does.
    pub fn reason(&self, epochs: &[Epoch]) -> Option<String> {
        let best = epochs.iter().reduce(|best, epoch| if self.monitor.better(epoch, best) { epoch } else { best })?;
        let since = epochs.last()?.epoch.saturating_sub(best.epoch);
        if let Some(patience) = self.patience.filter(|patience| since >= *patience) {
            let figure = match self.monitor {
                Monitor::ValAccuracy => "val_accuracy",
                Monitor::ValLoss => "val_loss",
            };
            let epochs = if patience == 1 { "epoch" } else { "epochs" };
            return Some(format!("{patience} {epochs} without a better {figure} than that of epoch {}", best.epoch));
        }
        let seconds: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
        let most = self.max_seconds.filter(|most| seconds >= *most)?;
        Some(format!("{seconds:.1} s of training, of {most} s at most"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Means;

    fn epochs(figures: &[(f64, f64)], seconds: f64) -> Vec<Epoch> {
        let epoch = |(&(accuracy, loss), number)| {
            let means = Means { loss, accuracy, top_5_accuracy: 1.0 };
            Epoch { seconds, ..Epoch::new(number, means, Some(means), 1e-3) }
        };
        figures.iter().zip(1..).map(epoch).collect()
    }

    /// After how many epochs a training ends.
    fn ends(stop: &Stop, epochs: &[Epoch]) -> Option<usize> {
        (0..=epochs.len()).find(|count| stop.reason(&epochs[..*count]).is_some())
    }

    #[test]
    fn patience_counts_from_the_best_epoch_of_the_figure() {
        let epochs = epochs(&[(0.1, 2.0), (0.5, 1.0), (0.4, 0.9), (0.5, 1.1), (0.4, 0.8), (0.6, 1.2)], 1.0);
        let of = |monitor, patience| ends(&Stop { patience: Some(patience), monitor, max_seconds: None }, &epochs);
        assert_eq!(of(Monitor::ValAccuracy, 1), Some(3));
        assert_eq!(of(Monitor::ValAccuracy, 3), Some(5));
        assert_eq!(of(Monitor::ValAccuracy, 4), None);
        assert_eq!(of(Monitor::ValLoss, 1), Some(4));
        assert_eq!(of(Monitor::ValLoss, 2), None);
    }

    #[test]
    fn time_is_that_of_all_epochs() {
        let epochs = epochs(&[(0.1, 2.0); 6], 2.5);
        let stop = |seconds| Stop { patience: None, monitor: Monitor::ValLoss, max_seconds: Some(seconds) };
        assert_eq!(
            [0.1, 5.0, 5.1, 16.0].map(|seconds| ends(&stop(seconds), &epochs)),
            [Some(1), Some(2), Some(3), None]
        );
        let both = Stop { patience: Some(2), ..stop(4.0) };
        assert_eq!(both.reason(&epochs[..3]).unwrap(), "2 epochs without a better val_loss than that of epoch 1");
        assert_eq!(stop(4.0).reason(&epochs[..2]).unwrap(), "5.0 s of training, of 4 s at most");
    }
}
