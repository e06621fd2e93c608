//! The directory of a sweep: whose it is, which trials are its own, and the models that it varies.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    space::name,
    together::{Agreed, Taken},
};
use crate::{
    experiment::{Definition, ExperimentError, SweepConfig, definition::kept_model, identity::hexadecimal},
    files::{
        kept::{Kept, read, write},
        make_folder, replace,
    },
    trial::{Directory, Failure, FailureKind, Lock, TrialError, Variant, variant},
};

/// `trials.json` in a sweep's directory: which trials are its own, in order.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trials {
    /// The names of their folders.
    pub trials: Vec<String>,
}

const TRIALS: &str = "trials.json";

/// Between two tries to write it.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the sweep's own definition lies in its directory.
pub const SWEEP: &str = "sweep";

impl Kept for Trials {
    /// Names of folders in `trials`, and of none elsewhere.
    fn fault(&self) -> Option<String> {
        let plain =
            |name: &&String| !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) || name.is_empty();
        self.trials.iter().find(plain).map(|name| format!("`{name}` is no name of a trial"))
    }
}

impl Trials {
    /// The trials of a sweep; `None` where the directory is none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, ExperimentError> {
        Ok(read(&folder.join(TRIALS))?)
    }

    /// The trials of these folders, by the last part of their paths.
    pub fn of(folders: &[PathBuf]) -> Self {
        let name = |folder: &PathBuf| folder.file_name().map(|name| name.to_string_lossy().into_owned());
        Self { trials: folders.iter().filter_map(name).collect() }
    }

    /// Keeps the list. `more` says that it may grow yet: then a longer one that begins like it, of
    /// an earlier time, stays.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn keep(self, folder: &Path, more: bool) -> Result<(), ExperimentError> {
        if Self::read(folder)?.as_ref() == Some(&self) {
            return Ok(());
        }
        // Several that work on one sweep may be here at once: a longer list must not be replaced between the two.
        let sweep = folder.join(SWEEP);
        make_folder(&sweep)?;
        let _lock = loop {
            match Lock::take(&sweep) {
                Err(TrialError::Locked { .. }) => thread::sleep(PAUSE),
                lock => break lock?,
            }
        };
        let known = Self::read(folder)?.unwrap_or_default();
        if known == self || more && known.trials.starts_with(&self.trials) {
            return Ok(());
        }
        Ok(write(&folder.join(TRIALS), &self)?)
    }
}

/// Whether a directory is a sweep's.
pub fn is_sweep(folder: &Path) -> bool {
    folder.join(TRIALS).exists() || Directory::new(&folder.join(SWEEP)).is_defined()
}

/// What the sweep of a directory varies; `None` where there is none.
///
/// # Errors
/// A definition that cannot be read.
pub fn recorded(folder: &Path) -> Result<Option<SweepConfig>, ExperimentError> {
    let sweep = folder.join(SWEEP);
    match Directory::new(&sweep).is_defined() {
        true => Ok(Definition::of_trial(&sweep)?.experiment.sweep),
        false => Ok(None),
    }
}

/// Refuses a directory that cannot be this sweep's, and writes nothing.
///
/// # Errors
/// The directory of a single run or of another sweep, or one that another process has.
pub fn refuse_others(folder: &Path, definition: &Definition) -> Result<(), ExperimentError> {
    refuse_run(folder)?;
    if Lock::is_held(folder) {
        return Err(TrialError::Locked { folder: folder.to_owned(), by: None }.into());
    }
    match definition.difference(&folder.join(SWEEP))? {
        Some(difference) => Err(ExperimentError::OtherSweep { folder: folder.to_owned(), difference }),
        None => Ok(()),
    }
}

fn refuse_run(folder: &Path) -> Result<(), ExperimentError> {
    match Directory::new(folder).is_defined() {
        true => {
            let difference = "it is the directory of a single run".into();
            Err(ExperimentError::Other { folder: folder.to_owned(), difference })
        }
        false => Ok(()),
    }
}

/// Takes a directory for a sweep, and no other. The `models` that it varies are kept beside its definition, so that it
/// can be swept again from there.
///
/// # Errors
/// As [`refuse_others`], or a directory that cannot be written.
pub fn take(
    folder: &Path,
    definition: &Definition,
    models: &[(String, String)],
    agreed: Agreed,
) -> Result<Taken, ExperimentError> {
    refuse_run(folder)?;
    make_folder(folder)?;
    let lock = Lock::take(folder)?;
    let sweep = folder.join(SWEEP);
    // Another sweep is refused here, before it is mixed with what the folder has.
    if let Some(difference) = definition.difference(&sweep)? {
        return Err(ExperimentError::OtherSweep { folder: folder.to_owned(), difference });
    }
    make_folder(&sweep)?;
    agreed.keep(folder)?;
    definition.note_origin(&sweep)?;
    for (model, text) in models {
        let path = kept_model(&sweep, model);
        if fs::read_to_string(&path).is_ok_and(|known| known == *text) {
            continue;
        }
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        replace(&path, text.as_bytes())?;
    }
    // Last: whoever finds it joins.
    definition.write(&sweep)?;
    Ok(Taken::Alone { _lock: lock })
}

/// Where a variant that cannot be is noted among the trials: it has no definition to be named by.
pub fn impossible(folder: &Path, variant: &Variant) -> PathBuf {
    let name = hexadecimal(&Sha256::digest(name(variant)), 6);
    folder.join("trials").join(format!("impossible-{name}"))
}

/// Notes why a variant that was proposed cannot be, as a trial that failed.
///
/// # Errors
/// A directory that cannot be written.
pub fn note_impossible(folder: &Path, variant: &Variant, reason: &str) -> Result<PathBuf, ExperimentError> {
    let trial = impossible(folder, variant);
    make_folder(&trial)?;
    variant::note(&trial, variant)?;
    Failure::new(FailureKind::Invalid, reason).write(&trial)?;
    Ok(trial)
}
