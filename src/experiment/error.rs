use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::{Diagnostic, NamedSource, SourceSpan};

use crate::{backend::BackendError, dsl, files::FileError, train::FitError, trial::TrialError};

/// What is wrong with an experiment or with the directory of a trial.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ExperimentError {
    #[error("cannot {action} `{}`: {cause}", path.display())]
    #[diagnostic(code(vitx::experiment::io))]
    Io { action: &'static str, path: PathBuf, cause: std::io::Error },
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::yaml))]
    Yaml {
        message: String,
        #[source_code]
        text: Arc<NamedSource<String>>,
        #[label("here")]
        place: Option<SourceSpan>,
        #[help]
        help: Option<String>,
    },
    #[error("`--set {assignment}`: {message}")]
    #[diagnostic(code(vitx::experiment::set))]
    Set {
        assignment: String,
        message: String,
        #[help]
        help: Option<String>,
    },
    #[error("`{text}` is no set of values: {message}")]
    #[diagnostic(
        code(vitx::sweep::axis),
        help("e.g. patch_size=4,6,8, depth=4..=8:2, train.optimizer.learning_rate=log(1e-4, 1e-2, 5)")
    )]
    Axis { text: String, message: String },
    #[error("{message}")]
    #[diagnostic(code(vitx::sweep::plan))]
    Sweep {
        message: String,
        #[help]
        help: Option<String>,
    },
    #[error("`{}` holds another trial: {difference}", folder.display())]
    #[diagnostic(code(vitx::experiment::other), help("give the new trial a folder of its own, or remove this one"))]
    Other { folder: PathBuf, difference: String },
    #[error("the data are not those that `{}` began with: {difference}", folder.display())]
    #[diagnostic(
        code(vitx::experiment::data),
        help(
            "put the data back as they were, or say with --path where those lie; for a run on these data give another \
             --output, or remove this folder"
        )
    )]
    OtherData { folder: PathBuf, difference: String },
    #[error("the data do not have the digest that `data.digest` asks for: it is {found}, not {asked}")]
    #[diagnostic(
        code(vitx::experiment::data),
        help("put the data back as they were; a run on these data is a new one, of an experiment without this key")
    )]
    Digest { asked: String, found: String },
    #[error("`--path` is the folder of `image_folder`; the data set here is `{name}`")]
    #[diagnostic(code(vitx::experiment::path), help("--data-dir is the folder of data sets"))]
    NoFolder { name: String },
    #[error("`{}` holds another sweep: {difference}", folder.display())]
    #[diagnostic(
        code(vitx::sweep::other),
        help("give the new sweep a folder of its own with --output (without it, each has one), or remove this one")
    )]
    OtherSweep { folder: PathBuf, difference: String },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] Box<dsl::Diagnostics>),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] Box<crate::data::DataError>),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Files(#[from] TrialError),
    #[error(transparent)]
    Backend(#[from] crate::backend::BackendError),
    /// Training met a loss that is not finite.
    #[error("{reason}")]
    #[diagnostic(
        code(vitx::train::not_finite),
        help("try a smaller train.optimizer.learning_rate, some train.schedule.warmup_epochs, or another seed")
    )]
    NotFinite { reason: String },
    #[error("{what} needs {needed} of memory, and {available} can be had: {limit}")]
    #[diagnostic(
        code(vitx::experiment::memory),
        help("a smaller train.batch_size, smaller images, or a smaller model need less; so do fewer --threads")
    )]
    Memory { what: &'static str, needed: String, available: String, limit: &'static str },
    /// Trained weights met numbers that are not finite.
    #[error("with the weights of `{}`, values of {operator} are not finite", path.display())]
    #[diagnostic(
        code(vitx::experiment::weights),
        help("the training has diverged, or the file was changed since: restore it from a copy, or train again")
    )]
    Weights { path: PathBuf, operator: String },
}

impl ExperimentError {
    /// What an engine with the weights of a checkpoint says.
    pub fn of_weights(path: &Path, error: impl Into<FitError>) -> Self {
        match error.into() {
            FitError::Backend(BackendError::NonFinite { operator, .. }) => {
                Self::Weights { path: path.to_owned(), operator }
            }
            error => error.into(),
        }
    }

    /// Wraps an error of the file system with what was tried on which file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }
}

impl From<FileError> for ExperimentError {
    fn from(error: FileError) -> Self {
        Self::Files(error.into())
    }
}

impl From<dsl::Diagnostics> for ExperimentError {
    fn from(diagnostics: dsl::Diagnostics) -> Self {
        Self::Model(Box::new(diagnostics))
    }
}

impl From<crate::data::DataError> for ExperimentError {
    fn from(error: crate::data::DataError) -> Self {
        Self::Data(Box::new(error))
    }
}
