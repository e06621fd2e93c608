//! What a former sweep has trained of a wider one: `vitx sweep .. --extend DIR`.
//!
//! The wider sweep has a directory of its own, and the former one stays as it is. Before a trial is begun that the former sweep has
//! as well, what that has learnt is taken over, the result last: so a directory that has it has all, and what was taken over in part
//! when the machine went down is taken over again. A trial of more epochs goes on from the one of fewer, where that is the longer
//! run to the bit.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    Planned, Trials,
    space::{name, refuse},
};
use crate::{
    experiment::{Definition, ExperimentError, extend::Extension},
    trial::{Directory, Failure, FailureKind, Lock, Prediction, variant},
};

/// The trials of a sweep that another one extends.
#[derive(Debug, Default)]
pub struct Former {
    folder: PathBuf,
    /// The folders of its trials by their names.
    trials: HashMap<String, PathBuf>,
    /// The names of its trials by what the sweep changed in them.
    variants: HashMap<String, Vec<String>>,
}

/// What there is of a trial.
#[derive(Debug, Clone, PartialEq)]
enum Found {
    /// The same trial: with its result, with a checkpoint, or with a failure that would come again.
    Same(PathBuf),
    /// A finished one of fewer epochs, from which it goes on.
    Shorter(Extension),
}

impl Former {
    /// The trials of a sweep's directory.
    ///
    /// # Errors
    /// A directory that is none, or that cannot be read.
    pub fn of(folder: &Path) -> Result<Self, ExperimentError> {
        let Some(Trials { trials }) = Trials::read(folder)? else {
            let message = format!("`{}` is no sweep that could be extended", folder.display());
            return Err(refuse(message, "`--extend` wants the directory of a sweep, as runs/sweeps/EXPERIMENT-HASH"));
        };
        let mut former = Self { folder: folder.to_owned(), ..Self::default() };
        for trial in trials {
            let path = folder.join("trials").join(&trial);
            if !Directory::new(&path).is_defined() {
                continue;
            }
            former.variants.entry(name(&variant::read(&path)?)).or_default().push(trial.clone());
            former.trials.insert(trial, path);
        }
        Ok(former)
    }

    /// What it expected of a trial that it has finished.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn prediction(&self, trial: &Path) -> Result<Option<Prediction>, ExperimentError> {
        match self.same(trial).filter(|folder| Directory::new(folder).has_result()) {
            Some(folder) => Ok(Prediction::read(folder)?),
            None => Ok(None),
        }
    }

    /// The folder of the same trial.
    fn same(&self, trial: &Path) -> Option<&PathBuf> {
        let name = trial.file_name()?.to_str()?;
        self.trials.get(name).filter(|folder| *folder != trial)
    }

    /// What there is of a trial that has not begun.
    ///
    /// # Errors
    /// [`ExperimentError::Extend`] for a trial that has finished with fewer epochs, but with other rates in them.
    fn find(&self, planned: &Planned) -> Result<Option<Found>, ExperimentError> {
        let directory = Directory::new(&planned.folder);
        if directory.has_result() || directory.has_begun() {
            return Ok(None);
        }
        if let Some(folder) = self.same(&planned.folder) {
            return Ok(Some(Found::Same(folder.clone())));
        }
        let mut longest: Option<(u32, Definition, PathBuf)> = None;
        for trial in self.variants.get(&name(&planned.variant)).into_iter().flatten() {
            let folder = &self.trials[trial];
            if !(Directory::new(folder).has_result() && Directory::new(folder).has_begun()) {
                continue;
            }
            let then = Definition::of_trial(folder)?;
            let epochs = then.experiment.train.epochs;
            let longer = longest.as_ref().is_none_or(|(known, ..)| epochs > *known);
            if longer && same_but_for_the_length(&then, &planned.definition) {
                longest = Some((epochs, then, folder.clone()));
            }
        }
        match longest {
            Some((epochs, _, folder)) if epochs < planned.definition.experiment.train.epochs => {
                Ok(Some(Found::Shorter(Extension::of(&planned.definition, &folder)?)))
            }
            _ => Ok(None),
        }
    }

    /// How many of the trials of a round are there already, for people; `None` where there is nothing to say.
    ///
    /// # Errors
    /// [`ExperimentError::Extend`] for trials of more epochs that cannot go on, before anything is written.
    pub fn look(&self, trials: &[Planned]) -> Result<Option<String>, ExperimentError> {
        let (mut finished, mut begun, mut longer) = (0, 0, 0);
        for planned in trials {
            match self.find(planned)? {
                Some(Found::Same(folder)) if Directory::new(&folder).has_result() => finished += 1,
                Some(Found::Same(folder)) if Directory::new(&folder).has_begun() => begun += 1,
                Some(Found::Same(_)) | None => {}
                Some(Found::Shorter(_)) => longer += 1,
            }
        }
        let parts = [(finished, "finished"), (begun, "begun"), (longer, "finished with fewer epochs")];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
        Ok((!parts.is_empty()).then(|| {
            let shown = self.folder.display();
            format!(
                "Of {} trials, {shown} has {}: they are taken over, not trained twice",
                trials.len(),
                parts.join(" and ")
            )
        }))
    }

    /// Takes over what there is of a trial.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn take_over(&self, planned: &Planned) -> Result<(), ExperimentError> {
        let Some(found) = self.find(planned)? else { return Ok(()) };
        planned.write()?;
        // Another process may have begun it meanwhile.
        let Ok(_lock) = Lock::take(&planned.folder) else { return Ok(()) };
        match found {
            Found::Shorter(extension) => extension.begin(&planned.folder),
            // What trains there now is not taken, for it changes.
            Found::Same(folder) if Lock::is_held(&folder) => Ok(()),
            Found::Same(folder) => {
                let (own, other) = (Directory::new(&planned.folder), Directory::new(&folder));
                if other.has_result() {
                    own.take_result(other)?;
                } else if other.has_begun() {
                    own.take_over(other)?;
                } else if let Some(failure @ Failure { kind: FailureKind::Nan, .. }) = Failure::read(&folder)? {
                    failure.write(&planned.folder)?;
                }
                Ok(())
            }
        }
    }
}

/// Whether two definitions differ in how long they train at most, in the rates that follow from that, and in what ends them.
fn same_but_for_the_length(then: &Definition, now: &Definition) -> bool {
    let mut same = then.clone();
    let (old, new) = (&mut same.experiment.train, &now.experiment.train);
    (old.epochs, old.stop) = (new.epochs, new.stop);
    old.schedule.clone_from(&new.schedule);
    same.difference_to(now).is_none()
}
