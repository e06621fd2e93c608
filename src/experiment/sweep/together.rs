//! What schedulers that work on one sweep together agree on, and how one joins.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    Given, Sweep,
    directory::{SWEEP, is_sweep},
};
use crate::{
    experiment::{Definition, ExperimentError, Overrides},
    files::{
        FileError, Hold,
        kept::{self, Kept, read, write},
    },
    trial::{CONFIG, Directory, Lock},
};

/// `sweep/policy.json`: what the sweep that began says of failures, for all that work beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// Further attempts for a trial that fails.
    pub retries: u32,
    /// Whether the first failure stops the sweep.
    pub fail_fast: bool,
    /// Whether combinations that cannot be are left out, instead of refused.
    pub skip_invalid: bool,
}

const POLICY: &str = "policy.json";

impl Kept for Agreed {
    fn fault(&self) -> Option<String> {
        None
    }
}

impl Agreed {
    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn keep(self, folder: &Path) -> Result<(), ExperimentError> {
        let path = folder.join(SWEEP).join(POLICY);
        match read::<Self>(&path)? == Some(self) {
            true => Ok(()),
            false => Ok(write(&path, &self)?),
        }
    }
}

impl Sweep {
    /// The sweep of a directory, with what was agreed on; `None` where none has begun there.
    ///
    /// # Errors
    /// A definition that cannot be read, or that comes out as another sweep here.
    pub fn of_directory(folder: &Path) -> Result<Option<(Self, Agreed)>, ExperimentError> {
        let kept = folder.join(SWEEP);
        if !Directory::new(&kept).is_defined() {
            let run = Directory::new(folder).is_defined() || folder.exists() && !folder.is_dir();
            return match run {
                true => Err(ExperimentError::Sweep {
                    message: format!("`{}` is no directory of a sweep", folder.display()),
                    help: Some("a worker joins what `vitx sweep` has begun".into()),
                }),
                false => Ok(None),
            };
        }
        // Sweeps of former versions have none.
        let agreed = kept::read(&kept.join(POLICY))?.unwrap_or_default();
        let experiment = Definition::read(&kept.join(CONFIG), &Overrides::default())?.settled()?;
        let sweep = Self::new(&experiment, &Given::default())?;
        match sweep.definition.difference(&kept)? {
            Some(difference) => Err(ExperimentError::OtherSweep { folder: folder.to_owned(), difference }),
            None => Ok(Some((sweep, agreed))),
        }
    }
}

/// A sweep's directory that this process writes to.
#[derive(Debug)]
pub enum Taken {
    /// As the only `vitx sweep`.
    Alone { _lock: Lock },
    /// As one of those that work beside it.
    Beside { _hold: Hold },
}

/// Holds a sweep's directory beside others: if it is removed, or another one takes its name, nothing is written there.
///
/// # Errors
/// A directory that is no sweep's, or cannot be opened.
pub fn join(folder: &Path) -> Result<Taken, ExperimentError> {
    if !is_sweep(folder) {
        return Err(FileError::Gone { folder: folder.to_owned() }.into());
    }
    let directory = std::fs::File::open(folder).map_err(ExperimentError::io("open", folder))?;
    Ok(Taken::Beside { _hold: Hold::new(folder, directory)? })
}
