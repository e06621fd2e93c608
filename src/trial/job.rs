use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::JOB;
use crate::files::{
    FileError,
    kept::{Kept, read, write},
};

/// `job.json`: as what a cluster's engine last knew a trial. Written after the trial was handed over, so that a sweep that
/// died can find its jobs again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The executor.
    pub engine: String,
    /// By which the engine finds it.
    pub id: String,
    /// The job's name, which no other job has.
    pub name: String,
    /// How often the trial was handed over, this time included.
    pub attempt: u32,
}

impl Kept for Job {
    fn fault(&self) -> Option<String> {
        (self.attempt == 0).then(|| "`attempt` is 0, expected at least 1".to_owned())
    }
}

impl Job {
    /// The last job of a trial, if it had one.
    ///
    /// # Errors
    /// A file that cannot be read or is something else.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        read(&folder.join(JOB))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// [`FileError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        write(&folder.join(JOB), self)
    }
}
