use serde::{Deserialize, Serialize};

use crate::{choice::Choice, trial::Epoch};

/// By what trials are compared: what a search goes by, what stops trials early, which weights are kept. Always of the images that
/// validate; the test images decide nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of validation images that are told right
    #[default]
    ValAccuracy,
    /// The loss on the validation images
    ValLoss,
    /// The share of validation images whose label is among the five largest logits
    #[serde(rename = "val_top_5_accuracy")]
    ValTop5Accuracy,
}

impl Choice for Metric {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::ValAccuracy, "val_accuracy", "The share of validation images that are told right"),
        (Self::ValLoss, "val_loss", "The loss on the validation images"),
        (
            Self::ValTop5Accuracy,
            "val_top_5_accuracy",
            "The share of validation images whose label is among the five largest logits",
        ),
    ];
}

impl Metric {
    /// Whether it is the one that is meant where nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How well a network did after an epoch: more is better, so a loss is negative. Without validation images, it is that of the
    /// training images.
    pub fn score(self, epoch: &Epoch) -> f64 {
        match self {
            Self::ValAccuracy => epoch.score(),
            Self::ValLoss => -epoch.val_loss.unwrap_or(epoch.loss),
            Self::ValTop5Accuracy => epoch.val_top_5_accuracy.unwrap_or(epoch.top_5_accuracy),
        }
    }

    /// The best score of some epochs.
    pub fn best(self, epochs: &[Epoch]) -> Option<f64> {
        epochs.iter().map(|epoch| self.score(epoch)).reduce(f64::max)
    }

    /// The score of a trial that failed, where a search wants a number.
    pub fn of_failure(self) -> f64 {
        match self {
            Self::ValAccuracy | Self::ValTop5Accuracy => 0.0,
            Self::ValLoss => f64::NEG_INFINITY,
        }
    }
}
