use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::names::TRACKED;
use crate::files::{
    FileError,
    kept::{Kept, read, write},
};

/// `mlflow.json` in the directory of a trial or a sweep: which run of a tracking server it is, and what that has of it.
/// By it a run is continued, by this process or by another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// The server's address, without a password.
    pub server: String,
    /// A tag of the run, drawn before the run is made: where the answer that names it was lost, it is found by this.
    pub key: String,
    /// When it began: milliseconds since 1970.
    pub started: u64,
    /// Of the run, once the server has named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Where the server keeps the run's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<String>,
    /// Whether it has the parameters.
    #[serde(default)]
    pub parameters: bool,
    /// Epochs whose figures it has.
    #[serde(default)]
    pub epochs: u32,
    /// The files that it has, with what tells whether they have changed.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The state that it was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

impl Kept for Tracked {
    fn fault(&self) -> Option<String> {
        // What comes from a server goes into addresses.
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        (!plain(&self.key) || !self.run.as_deref().is_none_or(plain)).then(|| "it names no run".to_owned())
    }
}

impl Tracked {
    /// That of a directory, if it has one.
    ///
    /// # Errors
    /// A file that cannot be read or is something else.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        read(&folder.join(TRACKED))
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// [`FileError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        write(&folder.join(TRACKED), self)
    }
}
