//! What can go wrong with data, as values: each names the place, what was expected and what to do.

use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

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
    #[error("{}: cannot decode this image: {message}", path.display())]
    #[diagnostic(code(vitx::data::image), help("PNG, JPEG and WebP are read; convert, repair or remove this file"))]
    Image { path: PathBuf, message: String },
    #[error("{}: {message}", path.display())]
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
