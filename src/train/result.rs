//! How a trial ended, as its directory keeps it.

use std::{fs, io::ErrorKind, path::Path};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{TrainError, replace};

/// `result.json`: written last, so a directory that has it is finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Of the best weights on the test split.
    pub test_loss: f64,
    pub test_accuracy: f64,
    pub test_top_5_accuracy: f64,
    /// From 1: the epoch whose weights were tested.
    pub best_epoch: u32,
    /// Absent without a validation split.
    pub best_val_loss: Option<f64>,
    pub best_val_accuracy: Option<f64>,
    pub best_val_top_5_accuracy: Option<f64>,
    pub epochs: u32,
    pub parameters: u64,
    /// Of a forward pass over one image, a multiply-add counting two.
    pub flops: u64,
    /// Wall time of all epochs.
    pub seconds: f64,
    /// Of training, the mean over epochs.
    pub images_per_second: f64,
    /// Of the process that finished the trial; absent where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
}

/// `failure.json`: why a trial has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The loss was not finite.
    Nan,
    /// Memory could not be had.
    Memory,
    /// Ended from outside, again and again.
    Killed,
    Error,
}

/// `stopped.json`: why a sweep ended a trial before its last epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub reason: String,
    /// What it trained beyond so many epochs does not count.
    pub epochs: u32,
}

/// `until.json`: how far a sweep wants a trial trained for now. In its directory, so that whoever
/// runs the trial need know nothing but that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Until {
    pub epochs: u32,
}

const UNTIL: &str = "until.json";
const STOPPED: &str = "stopped.json";
const RESULT: &str = "result.json";
const FAILURE: &str = "failure.json";

impl RunResult {
    /// The result of a trial, if it has finished.
    ///
    /// # Errors
    /// A file that cannot be read or is something else.
    pub fn read(folder: &Path) -> Result<Option<Self>, TrainError> {
        read(&folder.join(RESULT))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        write(&folder.join(RESULT), self)
    }
}

impl Failure {
    /// Why a trial failed, if it did.
    ///
    /// # Errors
    /// As [`RunResult::read`].
    pub fn read(folder: &Path) -> Result<Option<Self>, TrainError> {
        read(&folder.join(FAILURE))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        write(&folder.join(FAILURE), self)
    }

    /// Forgets an earlier failure, before another attempt.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the file cannot be removed.
    pub fn clear(folder: &Path) -> Result<(), TrainError> {
        remove(&folder.join(FAILURE))
    }
}

impl Until {
    /// How far a trial is wanted; to its end where there is nothing.
    ///
    /// # Errors
    /// As [`RunResult::read`].
    pub fn read(folder: &Path) -> Result<Option<Self>, TrainError> {
        read(&folder.join(UNTIL))
    }

    /// Wants a trial so far, or to its end.
    ///
    /// # Errors
    /// [`TrainError::Io`] names the file.
    pub fn set(folder: &Path, epochs: Option<u32>) -> Result<(), TrainError> {
        match epochs {
            Some(epochs) => write(&folder.join(UNTIL), &Self { epochs }),
            None => remove(&folder.join(UNTIL)),
        }
    }
}

fn remove(path: &Path) -> Result<(), TrainError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(TrainError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

impl Stopped {
    /// Why a trial was ended early, if it was.
    ///
    /// # Errors
    /// As [`RunResult::read`].
    pub fn read(folder: &Path) -> Result<Option<Self>, TrainError> {
        read(&folder.join(STOPPED))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        write(&folder.join(STOPPED), self)
    }

    /// Lets a trial go on.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the file cannot be removed.
    pub fn clear(folder: &Path) -> Result<(), TrainError> {
        remove(&folder.join(STOPPED))
    }
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, TrainError> {
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| TrainError::io("read", path)(error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TrainError::io("read", path)(error)),
    }
}

pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| TrainError::io("write", path)(error.into()))?;
    replace(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_comes_back_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Failure::read(folder.path()).unwrap(), None);
        Failure::clear(folder.path()).unwrap();
        let failure = Failure { kind: FailureKind::Nan, reason: "the loss is NaN".into() };
        failure.write(folder.path()).unwrap();
        assert_eq!(Failure::read(folder.path()).unwrap(), Some(failure));
        Failure::clear(folder.path()).unwrap();
        assert_eq!(Failure::read(folder.path()).unwrap(), None);
        fs::write(folder.path().join("result.json"), "{}").unwrap();
        assert!(RunResult::read(folder.path()).is_err());
    }
}
