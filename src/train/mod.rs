//! Training: the loop, metrics, the record of epochs, checkpoints.

pub mod checkpoint;
pub mod events;
mod fit;
mod held;
pub mod history;
mod interrupt;
pub(crate) mod kept;
pub mod metrics;
mod monitor;
mod observer;
mod replace;
mod restore;
pub mod result;
mod saves;
mod schedule;

use miette::Diagnostic;
use std::path::{Path, PathBuf};

pub use fit::{Fit, FitError, Fitted, evaluate};
pub use held::{Hold, Place, append_to, make_folder, remove};
pub use interrupt::Interrupt;
pub use monitor::Monitor;
pub use observer::Observer;
pub use replace::{remove_parts, replace, replace_by, replace_like};
pub use restore::{restore, restore_weights};
pub use schedule::{Kind, Schedule};

/// What can go wrong with a run's files.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum TrainError {
    #[error("cannot {action} `{path}`: {cause}")]
    #[diagnostic(code(vitx::train::io))]
    Io {
        action: &'static str,
        path: PathBuf,
        cause: std::io::Error,
        #[help]
        help: Option<&'static str>,
    },
    #[error("the directory `{}` is gone: since this process began to write there, it was removed or replaced", folder.display())]
    #[diagnostic(code(vitx::train::gone), help("nothing was written to what has its name now; start again"))]
    Gone { folder: PathBuf },
    #[error("`{path}` is not a checkpoint of vitx: {problem}")]
    #[diagnostic(code(vitx::train::checkpoint), help("{}", again(path)))]
    Checkpoint { path: PathBuf, problem: String },
    /// A checkpoint that is one, but not of this run.
    #[error("`{path}` {problem}")]
    #[diagnostic(code(vitx::train::checkpoint), help("{}", again(path)))]
    Other { path: PathBuf, problem: String },
    #[error("there is no `{path}`")]
    #[diagnostic(
        code(vitx::train::missing),
        help(
            "the run has not come so far (`vitx trial DIR` trains it), or the file was removed: restore it from a copy, \
             or remove the run's folder and train again"
        )
    )]
    Missing { path: PathBuf },
    #[error("`{path}` is damaged: {problem}")]
    #[diagnostic(
        code(vitx::train::broken),
        help(
            "something else has written to this file: restore it from a copy, or remove the run's folder and train again"
        )
    )]
    Broken { path: PathBuf, problem: String },
    #[error("`{path}`, line {line}: {problem}")]
    #[diagnostic(code(vitx::train::history), help("something else has written to this file; remove what is no record"))]
    History { path: PathBuf, line: usize, problem: String },
}

/// What to do about a checkpoint that cannot be used.
fn again(path: &Path) -> &'static str {
    match path.file_stem().is_some_and(|stem| stem == LAST) {
        true => "restore the file from a copy; or remove it, and the run begins again",
        false => "restore the file from a copy; or remove the run's folder, and train again",
    }
}

/// Stem of the checkpoint that a run is continued from.
const LAST: &str = "last";

impl TrainError {
    /// Wraps an error of the file system with what was tried on which file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause, help: None }
    }

    /// The same error where it stopped a training, which loses nothing by it.
    #[must_use]
    pub fn of_a_training(self) -> Self {
        const HELP: &str = "what was saved before is still there: once this is mended, the run can be continued";
        match self {
            Self::Io { action, path, cause, .. } => Self::Io { action, path, cause, help: Some(HELP) },
            other => other,
        }
    }
}
