//! What can go wrong with data, as values: each names the place, what was expected and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use super::names::shown;

/// How many of what is alike are shown.
const SHOWN: usize = 20;

/// A file that is no picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub name: String,
    /// Words that follow the name: "is empty".
    pub reason: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "  {} {}", self.name, self.reason)
    }
}

/// An error of this room. The `Display` text says what and where, the help says what to do.
#[derive(Debug, Error, Diagnostic)]
pub enum DataError {
    #[error("unknown data set `{name}`")]
    #[diagnostic(code(vitx::data::unknown))]
    Unknown {
        name: String,
        #[help]
        help: String,
    },
    #[error("data set `{name}` is not on this machine; looked in\n{}", list(searched))]
    #[diagnostic(code(vitx::data::not_found))]
    NotFound {
        name: String,
        searched: Vec<PathBuf>,
        #[help]
        help: String,
    },
    #[error("{}: at byte {offset}: expected {expected}, found {found}", path.display())]
    #[diagnostic(
        code(vitx::data::corrupt),
        help("the file is truncated or not in this format; delete it and fetch or copy it again")
    )]
    Corrupt { path: PathBuf, offset: u64, expected: String, found: String },
    #[error("cannot {action} {}: {cause}", path.display())]
    #[diagnostic(code(vitx::data::io))]
    Io {
        action: &'static str,
        path: PathBuf,
        cause: io::Error,
        #[help]
        help: Option<String>,
    },
    /// Files that are no pictures, or broken; all of them, of which some are shown.
    #[error("{}\n{}", count(broken.len(), *total, folder.as_deref()), bounded(broken))]
    #[diagnostic(code(vitx::data::pictures))]
    Pictures {
        folder: Option<PathBuf>,
        /// How many there are with those that are fine.
        total: usize,
        broken: Vec<Broken>,
        #[help]
        help: String,
    },
    #[error("{}: {message}", shown(path.as_os_str()))]
    #[diagnostic(code(vitx::data::folder))]
    Folder {
        path: PathBuf,
        message: String,
        #[help]
        help: String,
    },
    #[error("{message}")]
    #[diagnostic(code(vitx::data::invalid))]
    Invalid {
        message: String,
        #[help]
        help: String,
    },
    #[error("cannot fetch {url}: {message}")]
    #[diagnostic(code(vitx::data::fetch))]
    Fetch {
        url: String,
        message: String,
        #[help]
        help: String,
    },
    #[error("a data worker stopped: {message}")]
    #[diagnostic(code(vitx::data::worker), help("this is a defect of vitx, please report it with the message above"))]
    Worker { message: String },
}

impl DataError {
    /// An I/O error with the help that its kind calls for.
    pub fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        let help = match cause.kind() {
            io::ErrorKind::StorageFull => Some("the disk is full: free some space, or choose another --data-dir"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some("check the permissions, or choose another --data-dir")
            }
            _ => None,
        };
        Self::Io { action, path: path.to_path_buf(), cause, help: help.map(str::to_owned) }
    }

    /// A file whose bytes are not what its format says.
    pub fn corrupt(path: &Path, offset: usize, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_path_buf(),
            offset: offset as u64,
            expected: expected.into(),
            found: found.into(),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("  {}", path.display())).collect::<Vec<_>>().join("\n")
}

/// Lines, as many as one may read, and how many more there are.
pub(super) fn bounded<T: ToString>(lines: &[T]) -> String {
    let mut shown: Vec<String> = lines.iter().take(SHOWN).map(ToString::to_string).collect();
    if lines.len() > SHOWN {
        shown.push(format!("  and {} more", lines.len() - SHOWN));
    }
    shown.join("\n")
}

/// "2 of 36 pictures in `d` cannot be read:"
fn count(broken: usize, total: usize, folder: Option<&Path>) -> String {
    let place = folder.map_or(String::new(), |folder| format!(" in `{}`", shown(folder.as_os_str())));
    let pictures = if total == 1 { "picture" } else { "pictures" };
    format!("{broken} of {total} {pictures}{place} cannot be read:")
}
