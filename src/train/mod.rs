//! Training: the loop, metrics, the record of epochs, checkpoints.

pub mod checkpoint;
pub mod events;
mod fit;
pub mod history;
mod interrupt;
pub mod metrics;
mod observer;
mod replace;
pub mod result;
mod saves;
mod schedule;

use miette::Diagnostic;
use std::path::PathBuf;

pub use fit::{Fit, FitError, Fitted, evaluate};
pub use interrupt::Interrupt;
pub use observer::Observer;
pub use replace::{replace, replace_by};
pub use schedule::{Kind, Schedule};

/// What can go wrong with a run's files.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum TrainError {
    #[error("cannot {action} `{path}`: {cause}")]
    #[diagnostic(
        code(vitx::train::io),
        help("what was saved before is still there: once this is mended, the run can be continued")
    )]
    Io { action: &'static str, path: PathBuf, cause: std::io::Error },
    #[error("`{path}` is not a checkpoint of vitx: {problem}")]
    #[diagnostic(
        code(vitx::train::checkpoint),
        help("something else has written to this file; without it the run begins again")
    )]
    Checkpoint { path: PathBuf, problem: String },
    #[error("`{path}`, line {line}: {problem}")]
    #[diagnostic(code(vitx::train::history), help("something else has written to this file; remove what is no record"))]
    History { path: PathBuf, line: usize, problem: String },
}

impl TrainError {
    /// Wraps an error of the file system with what was tried on which file.
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }
}
