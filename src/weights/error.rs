use std::path::PathBuf;

use crate::files::FileError;

/// Why weights cannot be taken from a file.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum WeightsError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no file of weights.
    #[error("`{}` is no file of weights: {problem}", path.display())]
    #[diagnostic(code(vitx::weights::format))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        #[help]
        help: Option<String>,
    },
    /// What stands beside weights is no JSON.
    #[error("`{}` cannot be read: {problem}", path.display())]
    #[diagnostic(
        code(vitx::weights::config),
        help("repair it, or fetch it again; without it, what the shapes of the weights do not tell is not known")
    )]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of the hub that does not come.
    #[error("cannot fetch {url}: {message}")]
    #[diagnostic(code(vitx::weights::fetch), help("{help}"))]
    Fetch {
        /// Where it was looked for.
        url: String,
        /// Why it did not come.
        message: String,
        /// What to do.
        help: String,
    },
    /// A file that the hub does not have.
    #[error("cannot fetch {url}: there is no such file")]
    #[diagnostic(code(vitx::weights::fetch), help("{help}"))]
    Absent {
        /// Where it was looked for.
        url: String,
        /// What to do.
        help: String,
    },
    /// Its tensors are not those of the network.
    #[error("the weights of `{}` are not those of this network: it {problem}", path.display())]
    #[diagnostic(code(vitx::weights::mismatch))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All differences, with some names of each kind.
        problem: String,
        /// What to do.
        #[help]
        help: Option<String>,
    },
    /// A line of names that cannot be read.
    #[error("`{line}` does not say which tensor is which: {problem}")]
    #[diagnostic(
        code(vitx::weights::names),
        help("e.g. `encoder{{i}}/layer_norm0: blocks.{{i}}.norm1`, the path of a layer and its name in the file")
    )]
    Rule {
        /// The line.
        line: String,
        /// What is wrong with it.
        problem: String,
    },
}
