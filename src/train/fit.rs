//! The loop: epochs of shuffled batches, validation, the best weights, the test.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Interrupt, Observer, Schedule, TrainError,
    checkpoint::{self, Progress},
    history::{self, Epoch},
    metrics::{Means, Totals},
};
use crate::{
    backend::{BackendError, Batch, Engine, StateTensor, Step},
    data::{Pipeline, Split, order},
};

/// The longest time whose steps a killed process can lose.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// What a run needs besides its engine.
pub struct Fit<'a> {
    pub train: &'a Split,
    pub validation: &'a Split,
    pub test: &'a Split,
    pub pipeline: &'a Pipeline,
    pub epochs: u32,
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
        while progress.epoch < self.epochs {
            let Some(epoch) = self.epoch(engine, &mut progress, observer)? else {
                return Ok(Fitted::Interrupted);
            };
            // The record comes first: a crash between the two repeats the epoch and cuts the record.
            history::append(&self.history(), &epoch)?;
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
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        let (mut clock, mut saved) = (Instant::now(), Instant::now());
        let mut learning_rate = self.learning_rate;
        for indices in order.chunks(self.batch_size).skip(progress.step as usize) {
            let waiting = Instant::now();
            self.pipeline.batch(self.train, indices, &mut images, &mut labels);
            progress.loader_wait_seconds += waiting.elapsed().as_secs_f64();
            learning_rate = self.learning_rate * self.schedule.factor(progress.iteration, steps, self.epochs);
            let Progress { epoch, step, iteration, .. } = *progress;
            let loss = engine.train_step(
                &Batch { images: &images, labels: &labels },
                &Step { epoch, step, iteration, learning_rate },
            )?;
            progress.totals.add(loss, engine.logits(), &labels);
            progress.iteration += 1;
            progress.step += 1;
            progress.seconds += std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
            observer.step(progress.step as usize, steps, &progress.totals.means());
            if self.interrupt.requested() {
                checkpoint::save(&self.last(), progress, &engine.state())?;
                return Ok(None);
            }
            if saved.elapsed() >= SAVE_EVERY {
                checkpoint::save(&self.last(), progress, &engine.state())?;
                saved = Instant::now();
            }
        }
        let trained = progress.seconds;
        let validation = if self.validation.is_empty() {
            None
        } else {
            Some(evaluate(engine, self.pipeline, self.validation, self.batch_size)?)
        };
        let mut epoch = Epoch::new(progress.epoch + 1, progress.totals.means(), validation, learning_rate);
        epoch.seconds = trained + clock.elapsed().as_secs_f64();
        epoch.images_per_second = self.train.len() as f64 / trained;
        epoch.loader_wait_seconds = progress.loader_wait_seconds;
        Ok(Some(epoch))
    }

    /// Evaluates the best weights on the test split.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn test(&self, engine: &mut dyn Engine) -> Result<Means, FitError> {
        let (_, tensors) = checkpoint::load(&self.best())?;
        engine.load_state(&tensors)?;
        evaluate(engine, self.pipeline, self.test, self.batch_size)
    }
}

/// Means over a split, dropout off.
///
/// # Errors
/// As the engine's.
pub fn evaluate(
    engine: &mut dyn Engine,
    pipeline: &Pipeline,
    split: &Split,
    batch_size: usize,
) -> Result<Means, FitError> {
    let indices: Vec<u32> = (0..split.len() as u32).collect();
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let mut totals = Totals::default();
    for indices in indices.chunks(batch_size) {
        pipeline.batch(split, indices, &mut images, &mut labels);
        let loss = engine.evaluate(&Batch { images: &images, labels: &labels })?;
        totals.add(loss, engine.logits(), &labels);
    }
    Ok(totals.means())
}

/// The parameters alone: what Keras' `save_weights_only` keeps.
fn weights(engine: &dyn Engine) -> Vec<StateTensor> {
    engine.state().into_iter().filter(|tensor| !tensor.name.starts_with("adamw/")).collect()
}
