use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::{Diagnostic, NamedSource, SourceSpan};

use crate::{backend::BackendError, dsl, files::FileError, train::FitError, trial::TrialError};

/// What is wrong with an experiment or with the directory of a trial.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ExperimentError {
    /// A call of the operating system failed.
    #[error("cannot {action} `{}`: {cause}", path.display())]
    #[diagnostic(code(vitx::experiment::io))]
    Io {
        /// What was tried, behind "cannot": `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A name on the command line that stands for no file, and for nothing that the binary carries.
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::unknown), help("{help}"))]
    Unknown {
        /// What is wrong, in one sentence.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// An experiment that cannot be begun.
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::new), help("{help}"))]
    Begin {
        /// What is wrong, in one sentence.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// A file that is no experiment.
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::yaml))]
    Yaml {
        /// What is wrong, in one sentence.
        message: String,
        /// The file.
        #[source_code]
        text: Arc<NamedSource<String>>,
        /// Where in it, if that is known.
        #[label("here")]
        place: Option<SourceSpan>,
        /// What to do about it.
        #[help]
        help: Option<String>,
    },
    /// An override that cannot be.
    #[error("`--set {assignment}`: {message}")]
    #[diagnostic(code(vitx::experiment::set))]
    Set {
        /// As it was given.
        assignment: String,
        /// Words that follow it.
        message: String,
        /// What to do about it.
        #[help]
        help: Option<String>,
    },
    /// A text that says of no key what it varies over.
    #[error("`{text}` is no set of values: {message}")]
    #[diagnostic(
        code(vitx::sweep::axis),
        help("e.g. patch_size=4,6,8, depth=4..=8:2, train.optimizer.learning_rate=log(1e-4, 1e-2, 5)")
    )]
    Axis {
        /// As it was given.
        text: String,
        /// Words that follow it.
        message: String,
    },
    /// A sweep that cannot be planned, or that nothing comes of.
    #[error("{message}")]
    #[diagnostic(code(vitx::sweep::plan))]
    Sweep {
        /// What is wrong, in one sentence.
        message: String,
        /// What to do about it.
        #[help]
        help: Option<String>,
    },
    /// An executor that cannot run trials.
    #[error("{message}")]
    #[diagnostic(code(vitx::sweep::executor))]
    Executor {
        /// What is wrong, in the engine's own words where it has some.
        message: String,
        /// What to do about it.
        #[help]
        help: Option<String>,
    },
    /// A folder that is taken by a trial with another definition.
    #[error("`{}` holds another trial: {difference}", folder.display())]
    #[diagnostic(code(vitx::experiment::other), help("give the new trial a folder of its own, or remove this one"))]
    Other {
        /// The taken folder.
        folder: PathBuf,
        /// In what the two differ.
        difference: String,
    },
    /// A folder in which no trial is defined, with a file that one would replace.
    #[error("`{}` is no run's folder, and has a file `{name}`, which a run would replace", folder.display())]
    #[diagnostic(
        code(vitx::experiment::taken),
        help("give the run a folder of its own with --output, or move the file")
    )]
    Taken {
        /// Where the trial was to be.
        folder: PathBuf,
        /// The file's name.
        name: String,
    },
    /// A place that is taken for a trial's folder, and is none.
    #[error("{message}")]
    #[diagnostic(
        code(vitx::experiment::no_run),
        help("`vitx run` makes the folder of a run, and prints where; those of a sweep are in its `trials`")
    )]
    NoRun {
        /// What is wrong, in one sentence.
        message: String,
    },
    /// Data that have changed since the run began.
    #[error("the data are not those that `{}` began with: {difference}", folder.display())]
    #[diagnostic(
        code(vitx::experiment::data),
        help(
            "put the data back as they were, or say with --path where those lie; for a run on these data give another \
             --output, or remove this folder"
        )
    )]
    OtherData {
        /// Of the run.
        folder: PathBuf,
        /// In what they differ.
        difference: String,
    },
    /// Data that are not those of `data.digest`.
    #[error("the data do not have the digest that `data.digest` asks for: it is {found}, not {asked}")]
    #[diagnostic(
        code(vitx::experiment::data),
        help("put the data back as they were; a run on these data is a new one, of an experiment without this key")
    )]
    Digest {
        /// As the experiment has it.
        asked: String,
        /// Of the data that lie there.
        found: String,
    },
    /// `--path` for a data set that is no folder of the user's.
    #[error("`--path` is the folder of `image_folder`, or the file of `npz`; the data set here is `{name}`")]
    #[diagnostic(code(vitx::experiment::path), help("--data-dir is the folder of data sets"))]
    NoFolder {
        /// The data set's.
        name: String,
    },
    /// A folder that is taken by a sweep with other variants.
    #[error("`{}` holds another sweep: {difference}", folder.display())]
    #[diagnostic(
        code(vitx::sweep::other),
        help("give the new sweep a folder of its own with --output (without it, each has one), or remove this one")
    )]
    OtherSweep {
        /// The taken folder.
        folder: PathBuf,
        /// In what the two differ.
        difference: String,
    },
    /// A network that cannot be written for other programs.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Export(#[from] crate::passes::OnnxError),
    /// A network that another library does not have.
    #[error("the network is none that {library} makes: {reason}")]
    #[diagnostic(
        code(vitx::export::library),
        help("docs/EXPORT.md has the networks; --format onnx writes any, --format safetensors the weights alone")
    )]
    Foreign {
        /// Its word.
        library: String,
        /// Why it is none.
        reason: String,
    },
    /// Mistakes in the text of a model.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] Box<dsl::Diagnostics>),
    /// What the data room refuses.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] Box<crate::data::DataError>),
    /// What `init` asks for cannot be had.
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::init))]
    Init {
        /// What is wrong.
        message: String,
        /// What to do.
        #[help]
        help: Option<String>,
    },
    /// Weights that cannot be taken from a file.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pretrained(#[from] crate::weights::WeightsError),
    /// What the files of a trial do not allow.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Files(#[from] TrialError),
    /// What the backend refuses.
    #[error(transparent)]
    Backend(#[from] crate::backend::BackendError),
    /// Training met a loss that is not finite.
    #[error("{reason}")]
    #[diagnostic(
        code(vitx::train::not_finite),
        help("try a smaller train.optimizer.learning_rate, some train.schedule.warmup_epochs, or another seed")
    )]
    NotFinite {
        /// As the backend says it.
        reason: String,
    },
    /// A key that goes by validation images, without any.
    #[error("`{key}` goes by validation images, and there are none")]
    #[diagnostic(
        code(vitx::experiment::unvalidated),
        help("`data.validation_split: 0.1` keeps a tenth of the training images for that; {instead}")
    )]
    Unvalidated {
        /// Dotted.
        key: &'static str,
        /// What to do without such images.
        instead: &'static str,
    },
    /// A network that cannot train on images of several sizes.
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::image_size))]
    ImageSize {
        /// Which layer, or which size.
        message: String,
        /// What to do instead.
        #[help]
        help: String,
    },
    /// A run that cannot be gone on from.
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::extend))]
    Extend {
        /// Why not.
        message: String,
        /// What can be done.
        #[help]
        help: Option<String>,
    },
    /// Weights of classes that do not fit the data.
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::class_weights))]
    ClassWeights {
        /// What does not fit.
        message: String,
        /// What to write.
        #[help]
        help: String,
    },
    /// Gradients of more batches than there are make an update.
    #[error(
        "`train.gradient_accumulation_steps` is {wanted}, but the training has {steps} steps: nothing would be learnt"
    )]
    #[diagnostic(
        code(vitx::experiment::accumulation),
        help("an update takes the gradients of so many batches; take fewer, smaller batches or more epochs")
    )]
    Accumulation {
        /// Batches of an update.
        wanted: u32,
        /// Batches of the whole training.
        steps: u64,
    },
    /// What would need more memory than can be had.
    #[error("{what} needs {needed} of memory, and {available} can be had: {limit}")]
    #[diagnostic(
        code(vitx::experiment::memory),
        help("a smaller train.batch_size, smaller images, or a smaller model need less; so do fewer --threads")
    )]
    Memory {
        /// What the process was to do: "training".
        what: &'static str,
        /// With its unit.
        needed: String,
        /// With its unit.
        available: String,
        /// What sets the limit.
        limit: &'static str,
    },
    /// Weights that a sweep has removed.
    #[error("`{}` has no weights any more: its sweep keeps {} (--keep-best)", folder.display(), kept(*count))]
    #[diagnostic(
        code(vitx::experiment::not_kept),
        help(
            "take a trial that has its `best.safetensors`, or train this one once more: \
             `vitx run {}/config.yaml --output NEW`",
            folder.display()
        )
    )]
    NotKept {
        /// Of the trial.
        folder: PathBuf,
        /// Of how many trials its sweep keeps the weights.
        count: usize,
    },
    /// Trained weights met numbers that are not finite.
    #[error("with the weights of `{}`, values of {operator} are not finite", path.display())]
    #[diagnostic(
        code(vitx::experiment::weights),
        help("the training has diverged, or the file was changed since: restore it from a copy, or train again")
    )]
    Weights {
        /// Of the weights.
        path: PathBuf,
        /// The first in the program's order whose output is not finite.
        operator: String,
    },
}

/// Whose weights a sweep keeps.
fn kept(count: usize) -> String {
    if count == 1 { "those of its best trial".into() } else { format!("those of its best {count} trials") }
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

    /// Whether another process has taken over the directory that this one wrote to.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Files(TrialError::File(FileError::Lost { .. })))
    }

    /// Whether a device has failed that other trials use as well.
    pub fn is_of_shared_device(&self) -> bool {
        matches!(self, Self::Backend(BackendError::Shared(_)))
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
