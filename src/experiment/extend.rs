//! More epochs for a finished run.
//!
//! What a run has learnt is taken over into the directory of a longer one, which goes on from there as after an interruption. That is
//! the longer run to the bit, as if it had been trained from its first step on, if each step that was trained is the same in
//! both; and only then is it done. So a schedule that does not look ahead goes on as it is, and one that does begins again, as
//! `train.schedule.restarts` says: a run that any other way of training would find again.

use std::path::{Path, PathBuf};

use super::{Definition, ExperimentError, Train};
use crate::{
    train::Schedule,
    trial::{Directory, RunResult, checkpoint},
};

/// A finished run that another one goes on from.
#[derive(Debug, Clone, PartialEq)]
pub struct Extension {
    folder: PathBuf,
    /// How many it has trained.
    epochs: u32,
}

impl Extension {
    /// Looks whether a definition goes on from the run in a folder.
    ///
    /// # Errors
    /// A folder without a finished run; [`ExperimentError::Extend`] with a run that is no beginning of this one.
    pub fn of(definition: &Definition, folder: &Path) -> Result<Self, ExperimentError> {
        let directory = Directory::new(folder);
        let refuse = |message: String, help: &str| {
            Err(ExperimentError::Extend { message, help: (!help.is_empty()).then(|| help.to_owned()) })
        };
        let shown = folder.display();
        if !directory.is_defined() {
            return refuse(format!("`{shown}` holds no run"), "`--extend` wants the directory of a finished run");
        }
        let progress = checkpoint::progress(&directory.last())?;
        let (Some(progress), Some(_)) = (progress, RunResult::read(folder)?) else {
            let help = "finish it first, with `--resume` and the epochs that it was begun with";
            return refuse(format!("the run in `{shown}` is not finished"), help);
        };
        let then = Definition::of_trial(folder)?;
        let (old, new) = (&then.experiment.train, &definition.experiment.train);
        let done = progress.epoch;
        if new.epochs <= done {
            let help = format!("say how many there shall be in all, e.g. `--set train.epochs={}`", done + old.epochs);
            return refuse(format!("`{shown}` has {done} epochs already, and {} are wanted", new.epochs), &help);
        }
        // What may be another, for it says nothing of the steps that are done but what is looked at below.
        let mut same = then.clone();
        same.experiment.train.epochs = new.epochs;
        same.experiment.train.schedule.clone_from(&new.schedule);
        same.experiment.train.stop = new.stop;
        if let Some(difference) = same.difference_to(definition) {
            let help = "`train.epochs`, `train.schedule` and `train.stop` may be others, nothing else";
            return refuse(format!("`{shown}` is no beginning of this run: {difference}"), help);
        }
        let steps = (progress.iteration / u64::from(done.max(1))) as usize;
        let (before, after) = (old.schedule.schedule(), new.schedule.schedule());
        let factor = |schedule: &Schedule, train: &Train, iteration| schedule.factor(iteration, steps, train.epochs);
        let first_other = |schedule: &Schedule| {
            let same = |&iteration: &u64| factor(&before, old, iteration) == factor(schedule, new, iteration);
            (0..progress.iteration).find(|iteration| !same(iteration))
        };
        if let Some(other) = first_other(&after) {
            let rate =
                |schedule: &Schedule, train: &Train| train.optimizer.learning_rate * factor(schedule, train, other);
            let restarts = [&before.restarts[..], &[done]].concat();
            let restarted = Schedule { restarts: restarts.clone(), ..after.clone() };
            let message = format!(
                "a run of {} epochs has another learning rate in epoch {}, which `{shown}` has trained: {} in its step {}, where that \
                 run had {}",
                new.epochs,
                other / steps as u64 + 1,
                rate(&after, new),
                other % steps as u64 + 1,
                rate(&before, old)
            );
            let help = match first_other(&restarted) {
                None => format!(
                    "a schedule that has an end cannot be stretched afterwards. `--set 'train.schedule.restarts={restarts:?}'` goes \
                     on with it from its beginning, over the epochs after {done}; without `--extend`, all {} epochs are trained anew",
                    new.epochs
                ),
                Some(_) => format!(
                    "leave `train.schedule` as that run had it; `--set 'train.schedule.restarts={restarts:?}'` begins it again after \
                     epoch {done}"
                ),
            };
            return refuse(message, &help);
        }
        if old.epochs != new.epochs && new.rule().warms_momentum_up() {
            let message = format!(
                "`momentum_warmup` is a share of all epochs: with {} of them, the first steps of `{shown}` had other momentums",
                new.epochs
            );
            return refuse(message, "without `--extend`, all epochs are trained anew");
        }
        Ok(Self { folder: folder.to_owned(), epochs: done })
    }

    /// What it comes to, for people.
    pub fn says(&self, train: &Train) -> String {
        let Self { folder, epochs } = self;
        let begins = match train.schedule.schedule().restarts.contains(epochs) {
            true => format!(", and the schedule begins again after epoch {epochs}"),
            false => String::new(),
        };
        format!(
            "Goes on from the {epochs} epochs of {}: each step of theirs is one of this training{begins}",
            folder.display()
        )
    }

    /// Takes over what has been learnt, unless the directory goes on from something already.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn begin(&self, folder: &Path) -> Result<(), ExperimentError> {
        let directory = Directory::new(folder);
        if !directory.has_begun() {
            directory.take_over(Directory::new(&self.folder)).map_err(ExperimentError::from)?;
        }
        Ok(())
    }
}
