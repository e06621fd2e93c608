use std::path::PathBuf;

use miette::Diagnostic;

/// What can go wrong with a file that is written, or was.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum FileError {
    /// A call of the operating system failed.
    #[error("cannot {action} `{path}`: {cause}")]
    #[diagnostic(code(vitx::train::io))]
    Io {
        /// What was tried, behind "cannot": `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
        /// What to do about it, if more is known than the cause says.
        #[help]
        help: Option<&'static str>,
    },
    /// A directory that is held was removed or replaced.
    #[error("the directory `{}` is gone: since this process began to write there, it was removed or replaced", folder.display())]
    #[diagnostic(code(vitx::train::gone), help("nothing was written to what has its name now; start again"))]
    Gone {
        /// By its old name.
        folder: PathBuf,
    },
    /// The lock of a directory was taken over by another process, as this one gave no sign of life.
    #[error("`{}` is no longer this process's: it gave no sign of life for so long that {by}", folder.display())]
    #[diagnostic(
        code(vitx::train::lost),
        help(
            "nothing was written since; what was saved before is where training goes on. It happens when a process is \
             suspended or its file system hangs"
        )
    )]
    Lost {
        /// As it was given.
        folder: PathBuf,
        /// Who has it now, as the end of a sentence.
        by: String,
    },
    /// A file that has not what was written to it.
    #[error("`{path}` is damaged: {problem}")]
    #[diagnostic(
        code(vitx::train::broken),
        help(
            "something else has written to this file: restore it from a copy, or remove the run's folder and train again"
        )
    )]
    Broken {
        /// The damaged file.
        path: PathBuf,
        /// Words that follow the colon.
        problem: String,
    },
}

impl FileError {
    /// Wraps an error of the file system with what was tried on which file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause, help: None }
    }
}
