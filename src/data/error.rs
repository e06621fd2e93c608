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
    /// Of the file, as messages show it.
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
    /// There is no data set of that name.
    #[error("unknown data set `{name}`")]
    #[diagnostic(code(vitx::data::unknown))]
    Unknown {
        /// As it was asked for.
        name: String,
        /// The nearest name, or all of them.
        #[help]
        help: String,
    },
    /// A data set whose files are in none of the usual places.
    #[error("data set `{name}` is not on this machine; looked in\n{}", list(searched))]
    #[diagnostic(code(vitx::data::not_found))]
    NotFound {
        /// Of the data set.
        name: String,
        /// Where it was looked for, in that order.
        searched: Vec<PathBuf>,
        /// How to get it.
        #[help]
        help: String,
    },
    /// A file that is not what its format says.
    #[error("{}: at byte {offset}: expected {expected}, found {found}", path.display())]
    #[diagnostic(
        code(vitx::data::corrupt),
        help("the file is truncated or not in this format; delete it and fetch or copy it again")
    )]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// In bytes from the start of the file.
        offset: u64,
        /// Words that follow "expected".
        expected: String,
        /// Words that follow "found".
        found: String,
    },
    /// A call of the operating system failed.
    #[error("cannot {action} {}: {cause}", path.display())]
    #[diagnostic(code(vitx::data::io))]
    Io {
        /// What was tried, behind "cannot": `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
        /// What to do about it, if more is known than the cause says.
        #[help]
        help: Option<String>,
    },
    /// Files that are no pictures, or broken; all of them, of which some are shown.
    #[error("{}\n{}", count(broken.len(), *total, folder.as_deref()), bounded(broken))]
    #[diagnostic(code(vitx::data::pictures))]
    Pictures {
        /// Where they lie; none for pictures that were named one by one.
        folder: Option<PathBuf>,
        /// How many there are with those that are fine.
        total: usize,
        /// In the order of the listing.
        broken: Vec<Broken>,
        /// What to do about them.
        #[help]
        help: String,
    },
    /// A user's folder that is no data set.
    #[error("{}: {message}", shown(path.as_os_str()))]
    #[diagnostic(code(vitx::data::folder))]
    Folder {
        /// The folder, or what in it is at fault.
        path: PathBuf,
        /// Words that follow its path.
        message: String,
        /// How the folder should look.
        #[help]
        help: String,
    },
    /// What does not fit the data: a split, a limit, a number.
    #[error("{message}")]
    #[diagnostic(code(vitx::data::invalid))]
    Invalid {
        /// What is wrong, in one sentence.
        message: String,
        /// What to do about it.
        #[help]
        help: String,
    },
    /// A download failed.
    #[error("cannot fetch {url}: {message}")]
    #[diagnostic(code(vitx::data::fetch))]
    Fetch {
        /// What was asked for.
        url: String,
        /// Words that follow the address.
        message: String,
        /// What to do about it.
        #[help]
        help: String,
    },
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
