use std::path::{Path, PathBuf};

use crate::experiment::ExperimentError;

/// A trial that an executor has ended. Whether it succeeded is for its directory to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub folder: PathBuf,
    /// How it ended, as the executor saw it; shown when the directory holds no reason.
    pub how: String,
}

/// Where trials run. An executor is given only directories on a file system that it shares with the
/// scheduler, and runs `vitx trial DIR` for each.
pub trait Executor {
    /// Starts a trial.
    ///
    /// # Errors
    /// When it cannot be started at all.
    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError>;

    /// The trials that ended since the last call. Does not wait.
    ///
    /// # Errors
    /// When the executor itself fails.
    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError>;

    /// Ends all that run.
    fn cancel(&mut self);
}
