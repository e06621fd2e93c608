use std::path::{Path, PathBuf};

use crate::experiment::ExperimentError;

/// A trial that an executor has ended. Whether it succeeded is for its directory to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub folder: PathBuf,
    pub how: How,
}

/// How a trial's process ended, as its executor saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// By itself, with an exit code.
    Exited(i32),
    /// From outside: by a signal, a time limit, a machine that went away. It can be resumed.
    Killed(String),
    /// By its own fault, without a word in its directory.
    Crashed(String),
}

/// Where trials run. An executor is given only directories on a file system that it shares with the
/// scheduler, and has `vitx trial DIR` run for each, here or elsewhere.
pub trait Executor {
    /// Whether trials run on this machine and share it with this process. Only then can their time and their memory be told
    /// beforehand, here.
    fn is_here(&self) -> bool {
        true
    }

    /// Whether this trial can be handed over now. Where not, it waits and this is asked again.
    ///
    /// # Errors
    /// When the executor itself fails.
    fn has_room(&mut self, _folder: &Path) -> Result<bool, ExperimentError> {
        Ok(true)
    }

    /// Gives back what [`Executor::has_room`] has kept for a trial and no trial has taken: another process may be training it.
    fn let_go(&mut self) {}

    /// Takes a trial over that an earlier sweep has handed over and that has not ended; from here on it is as if it had been
    /// submitted. False where there is none.
    ///
    /// # Errors
    /// When the executor itself fails.
    fn adopt(&mut self, _folder: &Path) -> Result<bool, ExperimentError> {
        Ok(false)
    }

    /// What there is to say to the user since the last call, a line each.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Where a trial that runs does so, if that is worth a word: "on device 3".
    fn place(&self, _folder: &Path) -> Option<String> {
        None
    }

    /// Whether a trial that was handed over waits in a queue of the executor's and has not begun, as far as is known.
    fn is_queued(&self, _folder: &Path) -> bool {
        false
    }

    /// Has a trial run, now or when there is room.
    ///
    /// # Errors
    /// When it cannot be handed over at all.
    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError>;

    /// The trials that ended since the last call, those that were cancelled included. Does not wait.
    ///
    /// # Errors
    /// When the executor itself fails.
    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError>;

    /// Asks a trial to save and end (a termination signal does), and ends it by force when it takes
    /// too long. Does not wait: [`Executor::poll`] tells when it has ended.
    ///
    /// # Errors
    /// When the executor itself fails. A trial that has just ended is no error.
    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError>;
}
