//! By what a trial is told from others: its definition, its model's text, and what lies in its data where they are a
//! folder of the user's. Where that folder lies is no part of it.

use std::{
    collections::HashMap,
    fs,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{Definition, Experiment, ExperimentError, Init, schema::Own};
use crate::{
    data::{self, Fingerprint, Subset},
    random::VERSION,
    trial::Directory,
};

/// What lies in folders, each read once in a process: all variants of a sweep have the same data. No part of what a
/// definition is: all are equal.
#[derive(Debug, Clone, Default)]
pub struct Known {
    folders: Arc<Mutex<HashMap<Own, Fingerprint>>>,
    /// Digests of weights.
    weights: Arc<Mutex<HashMap<PathBuf, String>>>,
}

impl PartialEq for Known {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Known {
    fn get(&self, own: &Own) -> Option<Fingerprint> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).get(own).cloned()
    }

    fn weights(&self, init: &Init) -> Result<String, ExperimentError> {
        let mut weights = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = weights.get(&init.weights) {
            return Ok(digest.clone());
        }
        let digest = init.digest()?;
        weights.insert(init.weights.clone(), digest.clone());
        Ok(digest)
    }

    fn insert(&self, own: Own, fingerprint: &Fingerprint) {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).insert(own, fingerprint.clone());
    }
}

impl Definition {
    /// This definition with the digest of its data, if they are a folder of the user's; what comes of it by
    /// [`Definition::with`] has it too.
    ///
    /// # Errors
    /// A folder that is not there or cannot be read, or that has not the digest that the experiment asks for.
    pub fn settled(mut self) -> Result<Self, ExperimentError> {
        self.known.get_or_insert_default();
        self.settle()?;
        Ok(self)
    }

    pub(super) fn settle(&mut self) -> Result<(), ExperimentError> {
        self.settle_weights()?;
        let Some(fingerprint) = self.fingerprint()? else { return Ok(()) };
        let asked = self.experiment.data.digest.replace(fingerprint.digest.clone());
        match asked {
            Some(asked) if asked != fingerprint.digest => {
                Err(ExperimentError::Digest { asked, found: fingerprint.digest })
            }
            _ => Ok(()),
        }
    }

    /// Notes what the weights are that it starts from.
    fn settle_weights(&mut self) -> Result<(), ExperimentError> {
        let (Some(known), Some(init)) = (&self.known, &mut self.experiment.init) else { return Ok(()) };
        let found = known.weights(init)?;
        match init.digest.replace(found.clone()) {
            Some(asked) if asked != found => Err(init.other_file(&asked, &found)),
            _ => Ok(()),
        }
    }

    /// What lies in its folder, if it is settled and has one. A sweep's experiment may have none yet.
    pub(super) fn fingerprint(&self) -> Result<Option<Fingerprint>, ExperimentError> {
        let data = &self.experiment.data;
        let (Some(known), Some(own)) = (&self.known, data.own()) else { return Ok(None) };
        if let Some(fingerprint) = known.get(&own) {
            return Ok(Some(fingerprint));
        }
        let fingerprint = data::fingerprint(&data.name, &data.options(None, None), &Subset::ALL)?;
        if let Some(fingerprint) = &fingerprint {
            known.insert(own, fingerprint);
        }
        Ok(fingerprint)
    }

    /// Whoever wants to go on with a run whose data have changed finds another directory, or none. This looks for the
    /// one that is meant: an unfinished one in `runs`, with a name that begins with `prefix`.
    ///
    /// # Errors
    /// [`ExperimentError::OtherData`] with the run, and how its data were others.
    pub fn refuse_begun_on_other_data(&self, runs: &Path, prefix: &str) -> Result<(), ExperimentError> {
        let Ok(entries) = fs::read_dir(runs) else { return Ok(()) };
        let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        folders.sort();
        let named =
            |folder: &PathBuf| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        let unfinished = |folder: &PathBuf| Directory::new(folder).has_begun() && !Directory::new(folder).has_result();
        for folder in folders.iter().filter(|folder| named(folder) && unfinished(folder)) {
            // Other definitions, and what cannot be read, are not what is looked for.
            if let Err(error @ ExperimentError::OtherData { .. }) = self.difference(folder) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Twelve hexadecimal digits of a hash over all that defines the trial. Where its data lies, and
    /// how many threads train it, does not.
    pub fn identity(&self) -> String {
        let mut experiment = self.experiment.clone();
        if experiment.data.digest.is_some() {
            // What lies there counts, not where.
            (experiment.data.path, experiment.data.csv) = (None, None);
        }
        experiment.data.in_memory = None;
        if let Some(init) = experiment.init.as_mut().filter(|init| init.digest.is_some()) {
            init.weights = PathBuf::new();
        }
        let mut hash = Sha256::new();
        // Serialising plain structs to memory cannot fail; an empty text would still be a stable identity.
        let experiment = serde_json::to_string(&experiment).unwrap_or_default();
        for part in [&VERSION.to_string(), &experiment, &self.source.text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hexadecimal(&hash.finalize(), 6)
    }
}

/// The first bytes of a digest, two letters each.
pub(super) fn hexadecimal(digest: &[u8], bytes: usize) -> String {
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether two experiments are the same but for the place of their data. One of a former version says nothing of
/// what lies there: its `input.json` may.
pub fn same_but_for_the_place(old: &Experiment, new: &Experiment) -> bool {
    let mut new = new.clone();
    new.model.clone_from(&old.model);
    new.data.path.clone_from(&old.data.path);
    new.data.csv.clone_from(&old.data.csv);
    new.data.in_memory = old.data.in_memory;
    if let (Some(new), Some(old)) = (&mut new.init, &old.init) {
        new.weights.clone_from(&old.weights);
    }
    if old.data.digest.is_none() {
        new.data.digest = None;
    }
    new == *old
}

/// A path with the user's folder for the `~` that it begins with, which a shell does not put there behind `key=`.
pub fn home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), directories::BaseDirs::new()) {
        (Ok(rest), Some(folders)) => folders.home_dir().join(rest),
        _ => path.to_owned(),
    }
}

/// A path as it is seen from a folder, absolute. Links stay, where no `..` has to be followed.
pub fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let joined = folder.join(home(path));
    let whole = std::path::absolute(&joined).unwrap_or(joined);
    match whole.components().any(|part| part == Component::ParentDir) {
        true => whole.canonicalize().unwrap_or(whole),
        false => whole,
    }
}
