//! The loop: epochs of shuffled batches, validation, the best weights, the test.

use std::{
    borrow::Cow,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Interrupt, Monitor, Observer, Schedule, Stop,
    linger::linger,
    restore::{restore, restore_weights},
    saves::Saves,
};
use crate::{
    backend::{BackendError, Batch, Drawing, Engine, ImageSet, Part, Resident, Step},
    data::{Augmentation, Batches, DataError, Draws, Loader, Pipeline, Split, order},
    files::FileError,
    metrics::{Means, Totals},
    trial::{
        Directory, Epoch, TrialError,
        checkpoint::{self, Progress},
        events::EventFiles,
        history,
    },
};

/// Steps between two looks at the metrics of an engine that makes its own batches: how long an interrupt
/// may wait for, too.
const STEPS_BETWEEN_METRICS: u32 = 32;

/// What a run needs besides its engine.
pub struct Fit<'a> {
    /// Images to train on.
    pub train: &'a Split,
    /// Images that decide which epoch's weights are the best; may be none.
    pub validation: &'a Split,
    /// Images that the best weights are tested on.
    pub test: &'a Split,
    /// What makes normalised batches of the bytes.
    pub pipeline: &'a Pipeline,
    /// What is done to training images.
    pub augmentation: &'a Augmentation,
    /// Threads that make batches ahead of the steps; results do not depend on it.
    pub workers: usize,
    /// How often each training image is seen.
    pub epochs: u32,
    /// Stops after so many epochs, with everything saved, to be continued later or not at all.
    pub until: Option<u32>,
    /// How long it waits there for its sweep to want it further.
    pub linger: Duration,
    /// Images of a step; the last batch of an epoch may have fewer.
    pub batch_size: usize,
    /// How many times in a row an epoch has an image, see [`order::repeated`].
    pub repeats: u32,
    /// Addresses what is drawn to shuffle and to augment.
    pub seed: u64,
    /// The optimizer's, of which the schedule takes a share.
    pub learning_rate: f32,
    /// The share of the learning rate at each step.
    pub schedule: Schedule,
    /// By what the best weights are chosen.
    pub monitor: Monitor,
    /// From which epochs on, from 0, training images have another size, `(height, width)`; by their epochs. Validation and
    /// test have all of it.
    pub sizes: &'a [(u32, (usize, usize))],
    /// Whether the engine evaluates an average of the weights: the record says so.
    pub evaluates_average: bool,
    /// What ends it before the last epoch.
    pub stop: Option<Stop>,
    /// The trial directory.
    pub folder: &'a Path,
    /// Looked at after each step, or after a few where the engine makes its own batches.
    pub interrupt: &'a Interrupt,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fitted {
    /// All epochs are done, or [`Fit::stop`] has ended it; `best` (from 1) has the best weights.
    Finished {
        /// The epoch whose weights were the best, from 1.
        best: u32,
    },
    /// Stopped by request; the last checkpoint has everything.
    Interrupted,
    /// Has reached [`Fit::until`]; the last checkpoint has everything.
    Paused,
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A file of the trial cannot be written or read.
    #[error(transparent)]
    Files(#[from] TrialError),
    /// The engine has met numbers that are not finite, or does not work.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A picture that is decoded when it is needed cannot be read any more.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl From<FileError> for FitError {
    fn from(error: FileError) -> Self {
        Self::Files(error.into())
    }
}

impl Fit<'_> {
    fn directory(&self) -> Directory<'_> {
        Directory::new(self.folder)
    }

    /// Trains, from the last checkpoint if there is one.
    ///
    /// # Errors
    /// A file that cannot be written, or a loss that is not finite.
    pub fn run(&self, engine: &mut dyn Engine, observer: &mut dyn Observer) -> Result<Fitted, FitError> {
        let mut progress = Progress::default();
        let last = self.directory().last();
        if last.exists() {
            progress = restore(&last, engine)?;
            if let Some(problem) = progress.fault(self.train.len(), self.batch_size, self.epochs) {
                let problem = format!("is not of this run: {problem}");
                return Err(TrialError::Other { path: last, problem }.into());
            }
            self.check_best(&progress)?;
        }
        history::truncate(self.folder, progress.epoch as usize)?;
        let mut epochs = history::read(self.folder)?;
        if epochs.len() < progress.epoch as usize {
            let problem = format!("it has {} epochs, the last checkpoint {}", epochs.len(), progress.epoch);
            return Err(FileError::Broken { path: history::path(self.folder), problem }.into());
        }
        let mut best = progress.best.and_then(|best| epochs.get(best as usize - 1).cloned());
        let events = EventFiles::create(self.folder, &epochs, !self.validation.is_empty())?;
        let kept = self.keep_images(engine)?;
        let mut saves = Saves::new(self.directory());
        let mut until = self.until;
        while progress.epoch < self.epochs && !self.stops(&epochs) {
            if until.is_some_and(|until| progress.epoch >= until) {
                match linger(self.folder, progress.epoch, self.linger, self.interrupt)? {
                    Some(further) => until = further,
                    None => return Ok(Fitted::Paused),
                }
            }
            let epoch = self.epoch(engine, kept, &mut progress, &mut saves, observer);
            if epoch.is_err() {
                // What has been reached is kept; the error is what the caller must see.
                let _ = saves.keep_best(engine);
            }
            let Some(epoch) = epoch? else {
                return Ok(Fitted::Interrupted);
            };
            // The record comes first: a crash between the two repeats the epoch and cuts the record.
            history::append(self.folder, &epoch)?;
            events.append(&epoch)?;
            epochs.push(epoch.clone());
            let Progress { iteration, best: number, .. } = progress;
            progress = Progress { epoch: epoch.epoch, iteration, best: number, ..Progress::default() };
            if best.as_ref().is_none_or(|best| self.monitor.better(&epoch, best)) {
                progress.best = Some(epoch.epoch);
                best = Some(epoch.clone());
                saves.set_best(progress.clone(), engine, kept)?;
            }
            if !kept {
                saves.keep_best(engine)?;
            }
            let over = progress.epoch == self.epochs || self.stops(&epochs);
            let interrupted = self.interrupt.requested() && !over;
            let ends = interrupted || over || until == Some(progress.epoch);
            // Epochs on a device may take less time than their checkpoints.
            if !kept || ends || saves.due() {
                saves.save(&progress, engine)?;
            }
            observer.epoch(&epoch, self.epochs);
            if interrupted {
                return Ok(Fitted::Interrupted);
            }
        }
        Ok(Fitted::Finished { best: progress.best.unwrap_or(0) })
    }

    /// Whether no epoch follows these, though there would be more.
    fn stops(&self, epochs: &[Epoch]) -> bool {
        self.stop.is_some_and(|stop| stop.reason(epochs).is_some())
    }

    /// Holds the best weights to what the last checkpoint says of them. They may be of a later epoch, if the process was
    /// killed between the two: it will be repeated.
    fn check_best(&self, progress: &Progress) -> Result<(), TrialError> {
        let Some(best) = progress.best else { return Ok(()) };
        let path = self.directory().best();
        match checkpoint::progress(&path)? {
            None => Err(TrialError::Missing { path }),
            Some(kept) if kept.epoch != best && kept.epoch <= progress.epoch => {
                let problem = format!("has the weights of epoch {}; the best epoch of this run is {best}", kept.epoch);
                Err(TrialError::Other { path, problem })
            }
            Some(_) => Ok(()),
        }
    }

    /// Offers the images to the engine; false when it wants batches.
    fn keep_images(&self, engine: &mut dyn Engine) -> Result<bool, BackendError> {
        let steps = self.steps_per_epoch();
        let rates: Vec<f32> =
            (0..steps as u64 * u64::from(self.epochs)).map(|iteration| self.rate(iteration, steps)).collect();
        let plan = self.augmentation.plan(self.pipeline.size());
        let drawing =
            Drawing { seed: self.seed, repeats: self.repeats, augmentation: &plan, rates: &rates, sizes: self.sizes };
        let set = |split, drawing| ImageSet { split, pipeline: self.pipeline, batch_size: self.batch_size, drawing };
        if self.train.is_empty() || [self.train, self.validation].iter().any(|split| split.in_memory().is_none()) {
            return Ok(false);
        }
        let Some(engine) = engine.resident() else { return Ok(false) };
        // Validation first, which is smaller: both or none.
        Ok((self.validation.is_empty() || engine.keep_images(Part::Validation, &set(self.validation, None))?)
            && engine.keep_images(Part::Training, &set(self.train, Some(drawing)))?)
    }

    /// What makes the batches of an epoch.
    fn pipeline_of(&self, epoch: u32) -> Cow<'_, Pipeline> {
        match self.sizes.iter().rfind(|(from, _)| *from <= epoch) {
            Some((_, size)) => Cow::Owned(self.pipeline.shrunk(*size)),
            None => Cow::Borrowed(self.pipeline),
        }
    }

    fn steps_per_epoch(&self) -> usize {
        self.train.len().div_ceil(self.batch_size)
    }

    fn rate(&self, iteration: u64, steps: usize) -> f32 {
        self.learning_rate * self.schedule.factor(iteration, steps, self.epochs)
    }

    /// The rest of the epoch under way; `None` when it was interrupted, and saved.
    fn epoch(
        &self,
        engine: &mut dyn Engine,
        kept: bool,
        progress: &mut Progress,
        saves: &mut Saves<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Epoch>, FitError> {
        let steps = self.steps_per_epoch();
        let done = if let Some(engine) = resident(engine, kept) {
            self.kept_steps(engine, progress, saves, observer, steps)?
        } else {
            let order = order::shuffled(self.train.len(), self.seed, progress.epoch);
            let order = order::repeated(order, self.repeats);
            let first = progress.step;
            let rest = &order[(progress.step as usize * self.batch_size).min(order.len())..];
            let draws = Draws { seed: self.seed, epoch: progress.epoch, repeats: self.repeats };
            let plan = self.augmentation.plan(self.pipeline.size());
            let pipeline = self.pipeline_of(progress.epoch);
            let loader = Loader {
                pipeline: &pipeline,
                split: self.train,
                augmentation: Some((&*plan, draws)),
                workers: self.workers,
            };
            let step_all = |batches: &mut Batches| self.steps(engine, progress, saves, observer, steps, batches);
            loader.run_from(first, rest, self.batch_size, step_all)?
        };
        if !done {
            return Ok(None);
        }
        let clock = Instant::now();
        let trained = progress.seconds;
        let validation = if self.validation.is_empty() {
            None
        } else if let Some(engine) = resident(engine, kept) {
            Some(engine.evaluate_kept(Part::Validation)?.means())
        } else {
            Some(self.evaluate(engine, self.validation)?)
        };
        let mut epoch = Epoch::new(
            progress.epoch + 1,
            progress.totals.means(),
            validation,
            self.rate(progress.iteration.saturating_sub(1), steps),
        );
        epoch.ema = self.evaluates_average && validation.is_some();
        epoch.seconds = trained + clock.elapsed().as_secs_f64();
        // A clock may stand still for a moment.
        epoch.images_per_second = self.train.len() as f64 / trained.max(1e-9);
        epoch.loader_wait_seconds = progress.loader_wait_seconds;
        Ok(Some(epoch))
    }

    /// The rest of the epoch by an engine that makes its own batches; false when it was interrupted, and saved.
    fn kept_steps(
        &self,
        engine: &mut dyn Resident,
        progress: &mut Progress,
        saves: &mut Saves<'_>,
        observer: &mut dyn Observer,
        steps: usize,
    ) -> Result<bool, FitError> {
        let Progress { epoch, step, iteration, .. } = *progress;
        let from = Step { epoch, step, iteration, learning_rate: self.rate(iteration, steps) };
        engine.ready_for(&from, steps as u32 - step)?;
        let mut clock = Instant::now();
        while (progress.step as usize) < steps {
            let Progress { epoch, step, iteration, .. } = *progress;
            let count = STEPS_BETWEEN_METRICS.min(steps as u32 - step);
            let from = Step { epoch, step, iteration, learning_rate: self.rate(iteration, steps) };
            progress.totals.add_totals(&engine.train_kept(&from, count)?);
            progress.iteration += u64::from(count);
            progress.step += count;
            progress.seconds += std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
            observer.step(progress.step as usize, steps, &progress.totals.means());
            if self.interrupted_or_due(engine, progress, saves)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Saves when it is time to; true when an interrupt was requested, and everything is saved.
    fn interrupted_or_due(
        &self,
        engine: &mut dyn Engine,
        progress: &Progress,
        saves: &mut Saves<'_>,
    ) -> Result<bool, FitError> {
        let interrupted = self.interrupt.requested();
        if interrupted || saves.due() {
            saves.save(progress, engine)?;
        }
        Ok(interrupted)
    }

    /// All steps of `batches`; false when it was interrupted, and saved.
    fn steps(
        &self,
        engine: &mut dyn Engine,
        progress: &mut Progress,
        saves: &mut Saves<'_>,
        observer: &mut dyn Observer,
        steps: usize,
        batches: &mut Batches,
    ) -> Result<bool, FitError> {
        let mut clock = Instant::now();
        let waited_before = progress.loader_wait_seconds;
        while let Some(loaded) = batches.next() {
            let loaded = loaded?;
            let Progress { epoch, step, iteration, .. } = *progress;
            let batch = Batch { images: &loaded.images, labels: &loaded.labels, mixed: loaded.mixed() };
            let learning_rate = self.rate(iteration, steps);
            let loss = engine.train_step(&batch, &Step { epoch, step, iteration, learning_rate })?;
            progress.totals.add(loss, engine.logits(), &loaded.labels);
            batches.recycle(loaded);
            progress.iteration += 1;
            progress.step += 1;
            progress.loader_wait_seconds = waited_before + batches.waited().as_secs_f64();
            progress.seconds += std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
            observer.step(progress.step as usize, steps, &progress.totals.means());
            if self.interrupted_or_due(engine, progress, saves)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Evaluates the best weights on the test split; `each` is given the logits and the labels of each batch, as by
    /// [`evaluate_each`].
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn test(&self, engine: &mut dyn Engine, each: &mut dyn FnMut(&[f32], &[u32])) -> Result<Means, FitError> {
        restore_weights(&self.directory().best(), engine)?;
        evaluate_each(engine, &self.loader(self.test), self.batch_size, each)
    }

    fn evaluate(&self, engine: &mut dyn Engine, split: &Split) -> Result<Means, FitError> {
        evaluate(engine, &self.loader(split), self.batch_size)
    }

    fn loader<'b>(&'b self, split: &'b Split) -> Loader<'b> {
        Loader { pipeline: self.pipeline, split, augmentation: None, workers: self.workers }
    }
}

/// The engine that makes its own batches, once it has `kept` the images.
fn resident(engine: &mut dyn Engine, kept: bool) -> Option<&mut dyn Resident> {
    if kept { engine.resident() } else { None }
}

/// Means over a loader's split, dropout off.
///
/// # Errors
/// As the engine's.
pub fn evaluate(engine: &mut dyn Engine, loader: &Loader, batch_size: usize) -> Result<Means, FitError> {
    evaluate_each(engine, loader, batch_size, &mut |_, _| {})
}

/// [`evaluate`], with the logits `[batch, classes]` and the labels `[batch]` of each batch, in the order of the split.
///
/// # Errors
/// As the engine's.
pub fn evaluate_each(
    engine: &mut dyn Engine,
    loader: &Loader,
    batch_size: usize,
    each: &mut dyn FnMut(&[f32], &[u32]),
) -> Result<Means, FitError> {
    let indices: Vec<u32> = (0..loader.split.len() as u32).collect();
    loader.run(&indices, batch_size, |batches| {
        let mut totals = Totals::default();
        while let Some(loaded) = batches.next() {
            let loaded = loaded?;
            let loss = engine.evaluate(&Batch { images: &loaded.images, labels: &loaded.labels, mixed: None })?;
            totals.add(loss, engine.logits(), &loaded.labels);
            each(engine.logits(), &loaded.labels);
            batches.recycle(loaded);
        }
        Ok(totals.means())
    })
}
