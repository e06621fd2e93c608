use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    experiment::ExperimentError,
    train::result::{read, write},
};

/// `prediction.json`: what a trial was expected to take, before its first step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Of one epoch, validation included.
    pub epoch_seconds: f64,
    /// Of the process that trains.
    pub memory_bytes: u64,
}

const FILE: &str = "prediction.json";

impl Prediction {
    /// What a sweep expected of a trial; nothing for one that no sweep made.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, ExperimentError> {
        Ok(read(&folder.join(FILE))?)
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ExperimentError> {
        Ok(write(&folder.join(FILE), self)?)
    }
}
