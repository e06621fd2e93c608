//! The loop: epochs of shuffled batches, validation, the best weights, the test.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    TrainError,
    checkpoint::{self, Progress},
    history::{self, Epoch},
    metrics::{Means, Totals},
};
use crate::{
    backend::{BackendError, Batch, Engine, StateTensor, Step},
    data::{Pipeline, Split, order},
};

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
    /// The trial directory.
    pub folder: &'a Path,
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    #[error(transparent)]
    Files(#[from] TrainError),
    #[error("{0}; try a smaller learning rate")]
    Backend(#[from] BackendError),
}

impl Fit<'_> {
    /// Path of the last checkpoint.
    pub fn last(&self) -> PathBuf {
        self.folder.join("last.safetensors")
    }

    fn best(&self) -> PathBuf {
        self.folder.join("best.safetensors")
    }

    fn history(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    /// Trains from the last checkpoint if there is one, and calls `report` after every epoch.
    ///
    /// # Errors
    /// A file that cannot be written, or a loss that is not finite.
    pub fn run(&self, engine: &mut dyn Engine, mut report: impl FnMut(&Epoch)) -> Result<(), FitError> {
        let mut progress = Progress::default();
        if self.last().exists() {
            let (found, tensors) = checkpoint::load(&self.last())?;
            engine.load_state(&tensors)?;
            progress = found;
        }
        history::truncate(&self.history(), progress.epoch as usize)?;
        while progress.epoch < self.epochs {
            let epoch = self.epoch(engine, &mut progress)?;
            // The record comes first: a crash between the two repeats the epoch and cuts the record.
            history::append(&self.history(), &epoch)?;
            let accuracy = epoch.val_accuracy.unwrap_or(epoch.accuracy);
            if progress.best.is_none_or(|(best, _)| accuracy > best) {
                progress.best = Some((accuracy, epoch.epoch));
                checkpoint::save(&self.best(), &progress, &weights(engine))?;
            }
            checkpoint::save(&self.last(), &progress, &engine.state())?;
            report(&epoch);
        }
        Ok(())
    }

    fn epoch(&self, engine: &mut dyn Engine, progress: &mut Progress) -> Result<Epoch, FitError> {
        let start = Instant::now();
        let order = order::shuffled(self.train.len(), self.seed, progress.epoch);
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        let (mut totals, mut waited) = (Totals::default(), 0.0);
        for (step, indices) in order.chunks(self.batch_size).enumerate() {
            let waiting = Instant::now();
            self.pipeline.batch(self.train, indices, &mut images, &mut labels);
            waited += waiting.elapsed().as_secs_f64();
            let step = Step {
                epoch: progress.epoch,
                step: step as u32,
                iteration: progress.iteration,
                learning_rate: self.learning_rate,
            };
            let loss = engine.train_step(&Batch { images: &images, labels: &labels }, &step)?;
            totals.add(loss, engine.logits(), &labels);
            progress.iteration += 1;
        }
        let trained = start.elapsed().as_secs_f64();
        let validation = if self.validation.is_empty() { None } else { Some(self.evaluate(engine, self.validation)?) };
        progress.epoch += 1;
        let mut epoch = Epoch::new(progress.epoch, totals.means(), validation, self.learning_rate);
        epoch.seconds = start.elapsed().as_secs_f64();
        epoch.images_per_second = self.train.len() as f64 / trained;
        epoch.loader_wait_seconds = waited;
        Ok(epoch)
    }

    /// Means over a split, dropout off.
    ///
    /// # Errors
    /// As the engine's.
    pub fn evaluate(&self, engine: &mut dyn Engine, split: &Split) -> Result<Means, FitError> {
        let indices: Vec<u32> = (0..split.len() as u32).collect();
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        let mut totals = Totals::default();
        for indices in indices.chunks(self.batch_size) {
            self.pipeline.batch(split, indices, &mut images, &mut labels);
            let loss = engine.evaluate(&Batch { images: &images, labels: &labels })?;
            totals.add(loss, engine.logits(), &labels);
        }
        Ok(totals.means())
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
}

/// The parameters alone: what Keras' `save_weights_only` keeps.
fn weights(engine: &dyn Engine) -> Vec<StateTensor> {
    engine.state().into_iter().filter(|tensor| !tensor.name.starts_with("adamw/")).collect()
}
