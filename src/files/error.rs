use std::path::PathBuf;

use miette::Diagnostic;

/// What can go wrong with a file that is written, or was.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum FileError {
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
    #[error("`{path}` is damaged: {problem}")]
    #[diagnostic(
        code(vitx::train::broken),
        help(
            "something else has written to this file: restore it from a copy, or remove the run's folder and train again"
        )
    )]
    Broken { path: PathBuf, problem: String },
}

impl FileError {
    /// Wraps an error of the file system with what was tried on which file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause, help: None }
    }
}
