use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::PREDICTION;
use crate::files::{
    FileError,
    kept::{self, Kept, read, write},
};

/// `prediction.json`: what a trial was expected to take, before its first step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Of the model.
    pub parameters: u64,
    /// Of a forward pass over one image.
    pub flops: u64,
    /// Of one epoch, validation included; absent where timing it would not fit into memory.
    pub epoch_seconds: Option<f64>,
    /// What the first epoch of a process takes more: compiling, touching memory.
    pub first_seconds: f64,
    /// Of the process that trains.
    pub memory_bytes: u64,
    /// With how many threads it was timed.
    pub threads: usize,
}

impl Kept for Prediction {
    fn fault(&self) -> Option<String> {
        let epoch = self.epoch_seconds.and_then(|seconds| kept::amount("epoch_seconds", seconds));
        epoch.or_else(|| kept::amount("first_seconds", self.first_seconds))
    }
}

impl Prediction {
    /// Of `epochs`, in one process.
    pub fn seconds(&self, epochs: u32) -> Option<f64> {
        Some(self.epoch_seconds? * f64::from(epochs) + self.first_seconds)
    }

    /// What a sweep expected of a trial; nothing for one that no sweep made.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        read(&folder.join(PREDICTION))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        write(&folder.join(PREDICTION), self)
    }
}
