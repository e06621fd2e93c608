//! How a trial ended, as its directory keeps it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::{FAILURE, RESULT, STOPPED, UNTIL};
use crate::files::{
    FileError,
    kept::{self, Kept, read, write},
    remove,
};

/// `result.json`: written last, so a directory that has it is finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Of the best weights on the test split.
    pub test_loss: f64,
    /// The share of test images that the best weights tell right.
    pub test_accuracy: f64,
    /// The share of test images whose label is among the five largest logits.
    pub test_top_5_accuracy: f64,
    /// From 1: the epoch whose weights were tested.
    pub best_epoch: u32,
    /// Absent without a validation split.
    pub best_val_loss: Option<f64>,
    /// As `best_val_loss`: the share of validation images that are told right.
    pub best_val_accuracy: Option<f64>,
    /// As `best_val_loss`: the share whose label is among the five largest logits.
    pub best_val_top_5_accuracy: Option<f64>,
    /// Epochs that were trained, which may be fewer than the experiment says.
    pub epochs: u32,
    /// Number of the network's parameters.
    pub parameters: u64,
    /// Of a forward pass over one image, a multiply-add counting two.
    pub flops: u64,
    /// Wall time of all epochs.
    pub seconds: f64,
    /// Of training, the mean over epochs.
    pub images_per_second: f64,
    /// Of the process that finished the trial; absent where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// The CUDA device that the process which finished the trial used: its name, and its UUID in brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Whether the best weights are an average (`train.ema`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ema: bool,
    /// Why it ended before its last epoch (`train.stop`), if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// `failure.json`: why a trial has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure, by which a sweep decides whether to try again.
    pub kind: FailureKind,
    /// In one sentence.
    pub reason: String,
    /// How often in a row it has failed. With 0 it is tried again, whatever a sweep says of retries.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What keeps a trial from having a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The loss was not finite.
    Nan,
    /// Memory could not be had.
    Memory,
    /// Ended from outside, again and again.
    Killed,
    /// It cannot be trained at all.
    Invalid,
    /// Any other error.
    Error,
}

/// `stopped.json`: why a sweep ended a trial before its last epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// In one sentence.
    pub reason: String,
    /// What it trained beyond so many epochs does not count.
    pub epochs: u32,
}

/// `until.json`: how far a sweep wants a trial trained for now. In its directory, so that whoever
/// runs the trial need know nothing but that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Until {
    /// Trained so far, it stops with everything saved.
    pub epochs: u32,
}

impl RunResult {
    /// The result of a trial, if it has finished.
    ///
    /// # Errors
    /// A file that cannot be read or is something else.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        read(&folder.join(RESULT))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// [`FileError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        write(&folder.join(RESULT), self)
    }
}

impl Failure {
    /// A failure, of nobody knows which attempt.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), attempts: 0 }
    }

    /// Why a trial failed, if it did.
    ///
    /// # Errors
    /// As [`RunResult::read`].
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        read(&folder.join(FAILURE))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// [`FileError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        write(&folder.join(FAILURE), self)
    }

    /// Forgets an earlier failure, before another attempt.
    ///
    /// # Errors
    /// [`FileError::Io`] when the file cannot be removed.
    pub fn clear(folder: &Path) -> Result<(), FileError> {
        remove(&folder.join(FAILURE))
    }
}

impl Until {
    /// How far a trial is wanted; to its end where there is nothing.
    ///
    /// # Errors
    /// As [`RunResult::read`].
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        read(&folder.join(UNTIL))
    }

    /// Wants a trial so far, or to its end.
    ///
    /// # Errors
    /// [`FileError::Io`] names the file.
    pub fn set(folder: &Path, epochs: Option<u32>) -> Result<(), FileError> {
        match epochs {
            Some(epochs) => write(&folder.join(UNTIL), &Self { epochs }),
            None => remove(&folder.join(UNTIL)),
        }
    }
}

impl Stopped {
    /// Why a trial was ended early, if it was.
    ///
    /// # Errors
    /// As [`RunResult::read`].
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        read(&folder.join(STOPPED))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// [`FileError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        write(&folder.join(STOPPED), self)
    }

    /// Lets a trial go on.
    ///
    /// # Errors
    /// [`FileError::Io`] when the file cannot be removed.
    pub fn clear(folder: &Path) -> Result<(), FileError> {
        remove(&folder.join(STOPPED))
    }
}

impl Kept for RunResult {
    fn fault(&self) -> Option<String> {
        let shares = [
            ("test_accuracy", Some(self.test_accuracy)),
            ("test_top_5_accuracy", Some(self.test_top_5_accuracy)),
            ("best_val_accuracy", self.best_val_accuracy),
            ("best_val_top_5_accuracy", self.best_val_top_5_accuracy),
        ];
        let losses = [("test_loss", Some(self.test_loss)), ("best_val_loss", self.best_val_loss)];
        let amounts = [("seconds", self.seconds), ("images_per_second", self.images_per_second)];
        let order = || {
            (self.best_epoch > self.epochs).then(|| format!("`best_epoch` is {} of {}", self.best_epoch, self.epochs))
        };
        let mut shares = shares.into_iter().filter_map(|(name, value)| kept::share(name, value?));
        let mut losses = losses.into_iter().filter_map(|(name, value)| kept::loss(name, value?));
        let mut amounts = amounts.into_iter().filter_map(|(name, value)| kept::amount(name, value));
        shares.next().or_else(|| losses.next()).or_else(|| amounts.next()).or_else(order)
    }
}

impl Kept for Failure {
    fn fault(&self) -> Option<String> {
        None
    }
}

impl Kept for Until {
    fn fault(&self) -> Option<String> {
        (self.epochs == 0).then(|| "`epochs` is 0, expected at least 1".to_owned())
    }
}

impl Kept for Stopped {
    fn fault(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_failure_comes_back_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Failure::read(folder.path()).unwrap(), None);
        Failure::clear(folder.path()).unwrap();
        let failure = Failure { attempts: 2, ..Failure::new(FailureKind::Nan, "the loss is NaN") };
        failure.write(folder.path()).unwrap();
        assert_eq!(Failure::read(folder.path()).unwrap(), Some(failure));
        Failure::clear(folder.path()).unwrap();
        assert_eq!(Failure::read(folder.path()).unwrap(), None);
        fs::write(folder.path().join("result.json"), "{}").unwrap();
        assert!(RunResult::read(folder.path()).is_err());
    }
}
