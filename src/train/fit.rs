//! The loop: epochs of shuffled batches, validation, the best weights, the test.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Interrupt, Observer, Schedule, TrainError,
    checkpoint::{self, Progress},
    events::EventFiles,
    history::{self, Epoch},
    metrics::{Means, Totals},
};
use crate::{
    backend::{BackendError, Batch, Engine, StateTensor, Step},
    data::{Augmentation, Batches, Draws, Loader, Pipeline, Split, order},
};

/// The longest time whose steps a killed process can lose.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// What a run needs besides its engine.
pub struct Fit<'a> {
    pub train: &'a Split,
    pub validation: &'a Split,
    pub test: &'a Split,
    pub pipeline: &'a Pipeline,
    pub augmentation: Augmentation,
    /// Threads that make batches ahead of the steps; results do not depend on it.
    pub workers: usize,
    pub epochs: u32,
    /// Stops after so many epochs, with everything saved, to be continued later or not at all.
    pub until: Option<u32>,
    pub batch_size: usize,
    pub seed: u64,
    pub learning_rate: f32,
    pub schedule: Schedule,
    /// The trial directory.
    pub folder: &'a Path,
    pub interrupt: &'a Interrupt,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fitted {
    /// All epochs are done; `best` (from 1) has the best weights.
    Finished { best: u32 },
    /// Stopped by request; the last checkpoint has everything.
    Interrupted,
    /// Has reached [`Fit::until`]; the last checkpoint has everything.
    Paused,
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    #[error(transparent)]
    Files(#[from] TrainError),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Fit<'_> {
    fn last(&self) -> PathBuf {
        self.folder.join("last.safetensors")
    }

    fn best(&self) -> PathBuf {
        self.folder.join("best.safetensors")
    }

    /// Path of the record of epochs.
    pub fn history(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    /// Trains, from the last checkpoint if there is one.
    ///
    /// # Errors
    /// A file that cannot be written, or a loss that is not finite.
    pub fn run(&self, engine: &mut dyn Engine, observer: &mut dyn Observer) -> Result<Fitted, FitError> {
        let mut progress = Progress::default();
        if self.last().exists() {
            let (found, tensors) = checkpoint::load(&self.last())?;
            engine.load_state(&tensors)?;
            progress = found;
        }
        history::truncate(&self.history(), progress.epoch as usize)?;
        let events = EventFiles::create(self.folder, &history::read(&self.history())?)?;
        while progress.epoch < self.epochs {
            if self.until.is_some_and(|until| progress.epoch >= until) {
                return Ok(Fitted::Paused);
            }
            let Some(epoch) = self.epoch(engine, &mut progress, observer)? else {
                return Ok(Fitted::Interrupted);
            };
            // The record comes first: a crash between the two repeats the epoch and cuts the record.
            history::append(&self.history(), &epoch)?;
            events.append(&epoch)?;
            let best = progress.best;
            progress = Progress { epoch: epoch.epoch, iteration: progress.iteration, best, ..Progress::default() };
            let accuracy = epoch.val_accuracy.unwrap_or(epoch.accuracy);
            if best.is_none_or(|(best, _)| accuracy > best) {
                progress.best = Some((accuracy, epoch.epoch));
                checkpoint::save(&self.best(), &progress, &weights(engine))?;
            }
            checkpoint::save(&self.last(), &progress, &engine.state())?;
            observer.epoch(&epoch, self.epochs);
            if self.interrupt.requested() && progress.epoch < self.epochs {
                return Ok(Fitted::Interrupted);
            }
        }
        Ok(Fitted::Finished { best: progress.best.map_or(0, |(_, epoch)| epoch) })
    }

    /// The rest of the epoch under way; `None` when it was interrupted, and saved.
    fn epoch(
        &self,
        engine: &mut dyn Engine,
        progress: &mut Progress,
        observer: &mut dyn Observer,
    ) -> Result<Option<Epoch>, FitError> {
        let order = order::shuffled(self.train.len(), self.seed, progress.epoch);
        let steps = order.len().div_ceil(self.batch_size);
        let rest = &order[(progress.step as usize * self.batch_size).min(order.len())..];
        let draws = Draws { seed: self.seed, epoch: progress.epoch };
        let loader = Loader {
            pipeline: self.pipeline,
            split: self.train,
            augmentation: Some((self.augmentation, draws)),
            workers: self.workers,
        };
        let rate = |iteration| self.learning_rate * self.schedule.factor(iteration, steps, self.epochs);
        let step_all = |batches: &mut Batches| self.steps(engine, progress, observer, steps, &rate, batches);
        if !loader.run(rest, self.batch_size, step_all)? {
            return Ok(None);
        }
        let clock = Instant::now();
        let trained = progress.seconds;
        let validation = if self.validation.is_empty() { None } else { Some(self.evaluate(engine, self.validation)?) };
        let mut epoch = Epoch::new(
            progress.epoch + 1,
            progress.totals.means(),
            validation,
            rate(progress.iteration.saturating_sub(1)),
        );
        epoch.seconds = trained + clock.elapsed().as_secs_f64();
        epoch.images_per_second = self.train.len() as f64 / trained;
        epoch.loader_wait_seconds = progress.loader_wait_seconds;
        Ok(Some(epoch))
    }

    /// All steps of `batches`; false when it was interrupted, and saved.
    fn steps(
        &self,
        engine: &mut dyn Engine,
        progress: &mut Progress,
        observer: &mut dyn Observer,
        steps: usize,
        rate: &dyn Fn(u64) -> f32,
        batches: &mut Batches,
    ) -> Result<bool, FitError> {
        let (mut clock, mut saved) = (Instant::now(), Instant::now());
        let waited_before = progress.loader_wait_seconds;
        while let Some(loaded) = batches.next() {
            let Progress { epoch, step, iteration, .. } = *progress;
            let batch = Batch { images: &loaded.images, labels: &loaded.labels };
            let loss = engine.train_step(&batch, &Step { epoch, step, iteration, learning_rate: rate(iteration) })?;
            progress.totals.add(loss, engine.logits(), &loaded.labels);
            batches.recycle(loaded);
            progress.iteration += 1;
            progress.step += 1;
            progress.loader_wait_seconds = waited_before + batches.waited().as_secs_f64();
            progress.seconds += std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
            observer.step(progress.step as usize, steps, &progress.totals.means());
            if self.interrupt.requested() {
                checkpoint::save(&self.last(), progress, &engine.state())?;
                return Ok(false);
            }
            if saved.elapsed() >= SAVE_EVERY {
                checkpoint::save(&self.last(), progress, &engine.state())?;
                saved = Instant::now();
            }
        }
        Ok(true)
    }

    /// Evaluates the best weights on the test split.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn test(&self, engine: &mut dyn Engine) -> Result<Means, FitError> {
        let (_, tensors) = checkpoint::load(&self.best())?;
        engine.load_state(&tensors)?;
        self.evaluate(engine, self.test)
    }

    fn evaluate(&self, engine: &mut dyn Engine, split: &Split) -> Result<Means, FitError> {
        let loader = Loader { pipeline: self.pipeline, split, augmentation: None, workers: self.workers };
        evaluate(engine, &loader, self.batch_size)
    }
}

/// Means over a loader's split, dropout off.
///
/// # Errors
/// As the engine's.
pub fn evaluate(engine: &mut dyn Engine, loader: &Loader, batch_size: usize) -> Result<Means, FitError> {
    let indices: Vec<u32> = (0..loader.split.len() as u32).collect();
    loader.run(&indices, batch_size, |batches| {
        let mut totals = Totals::default();
        while let Some(loaded) = batches.next() {
            let loss = engine.evaluate(&Batch { images: &loaded.images, labels: &loaded.labels })?;
            totals.add(loss, engine.logits(), &loaded.labels);
            batches.recycle(loaded);
        }
        Ok(totals.means())
    })
}

/// The parameters alone: what Keras' `save_weights_only` keeps.
fn weights(engine: &dyn Engine) -> Vec<StateTensor> {
    engine.state().into_iter().filter(|tensor| !tensor.name.starts_with("adamw/")).collect()
}
