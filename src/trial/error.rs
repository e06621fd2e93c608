use std::path::{Path, PathBuf};

use miette::Diagnostic;

use super::names::LAST;
use crate::files::FileError;

/// What can go wrong with the files of a trial.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum TrialError {
    /// A file that cannot be read or written, or is damaged.
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    /// A file that is no checkpoint.
    #[error("`{path}` is not a checkpoint of vitx: {problem}")]
    #[diagnostic(code(vitx::train::checkpoint), help("{}", again(path)))]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Words that follow the colon.
        problem: String,
    },
    /// A checkpoint that is one, but not of this trial.
    #[error("`{path}` {problem}")]
    #[diagnostic(code(vitx::train::checkpoint), help("{}", again(path)))]
    Other {
        /// The checkpoint.
        path: PathBuf,
        /// Words that follow its path.
        problem: String,
    },
    /// A file of the trial is not there.
    #[error("there is no `{path}`")]
    #[diagnostic(
        code(vitx::train::missing),
        help(
            "the run has not come so far (`vitx trial DIR` trains it), or the file was removed: restore it from a copy, \
             or remove the run's folder and train again"
        )
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A line of `metrics.jsonl` that is no record of an epoch.
    #[error("`{path}`, line {line}: {problem}")]
    #[diagnostic(code(vitx::train::history), help("something else has written to this file; remove what is no record"))]
    History {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Words that follow the colon.
        problem: String,
    },
    /// A directory that another process trains in.
    #[error("`{}` is in use by another vitx process{}", folder.display(), by.as_ref().map_or(String::new(), |by| format!(": {by}")))]
    #[diagnostic(code(vitx::experiment::locked), help("wait until it has finished, or stop it"))]
    Locked {
        /// The trial's directory.
        folder: PathBuf,
        /// Who has it, where a file tells: `process 42 on node7`.
        by: Option<String>,
    },
}

/// What to do about a checkpoint that cannot be used.
fn again(path: &Path) -> &'static str {
    match path.file_name().is_some_and(|name| name == LAST) {
        true => "restore the file from a copy; or remove it, and the run begins again",
        false => "restore the file from a copy; or remove the run's folder, and train again",
    }
}

impl TrialError {
    /// The same error where it stopped a training, which loses nothing by it.
    #[must_use]
    pub fn of_a_training(self) -> Self {
        const HELP: &str = "what was saved before is still there: once this is mended, the run can be continued";
        match self {
            Self::File(FileError::Io { action, path, cause, .. }) => {
                Self::File(FileError::Io { action, path, cause, help: Some(HELP) })
            }
            other => other,
        }
    }
}
