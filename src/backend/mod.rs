//! Backends: what runs a model's training step and its evaluation.
//!
//! `reference` runs the graph decomposed into luminal's primitives on luminal's own CPU compiler:
//! slow, and the oracle of every test. `cpu` and `cuda` are ours.

mod buffer;
pub mod cpu;
pub mod cuda;
mod extents;
mod kind;
#[cfg(feature = "luminal-cuda")]
pub mod luminal_cuda;
mod plan;
mod program_diagram;
pub mod reference;
mod store;
mod task;

use std::time::Duration;

pub use buffer::Buffer;
pub use cuda::launch::Precision;
pub use kind::Backend;
pub use store::Store;
pub(crate) use task::Task;

use crate::{
    data::{Augmentation, Pipeline, Split},
    graph::ops::AdamWUpdate,
};

/// One batch, ready for the network.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[batch, height, width, channels]`, normalised and resized.
    pub images: &'a [f32],
    /// `[batch]`, class indices.
    pub labels: &'a [u32],
}

/// Where in training a step stands, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// From 0.
    pub epoch: u32,
    /// Within the epoch, from 0.
    pub step: u32,
    /// Optimizer steps taken before this one, over the whole training.
    pub iteration: u64,
    pub learning_rate: f32,
}

impl Step {
    /// A step that neither updates nor draws.
    pub const STILL: Self = Self { epoch: 0, step: 0, iteration: 0, learning_rate: 0.0 };
}

/// A named tensor of an engine's state: `NAME` for a parameter, `adamw/m/NAME` and `adamw/v/NAME`
/// for the moments.
#[derive(Debug, Clone, PartialEq)]
pub struct StateTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// AdamW with Keras' semantics (`keras.optimizers.AdamW`, Loshchilov & Hutter 2019): decoupled
/// decay of every variable, epsilon outside the bias correction.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AdamW {
    pub beta_1: f32,
    pub beta_2: f32,
    pub epsilon: f32,
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, weight_decay: 1e-4 }
    }
}

impl AdamW {
    /// The operator of this rule.
    pub fn rule(&self) -> AdamWUpdate {
        let Self { beta_1, beta_2, epsilon, weight_decay } = *self;
        AdamWUpdate { beta_1, beta_2, epsilon, weight_decay }
    }
}

/// How an engine is compiled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineOptions {
    pub optimizer: AdamW,
    /// Seeds initialisation and dropout.
    pub seed: u64,
    /// Worker threads; results do not depend on it.
    pub threads: usize,
    /// Of the `cuda` backend; the others compute in float32.
    pub precision: Precision,
}

/// A part of the data that an engine may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Training,
    Validation,
}

/// Images of a part of the data, and how batches are made of them.
#[derive(Clone, Copy)]
pub struct ImageSet<'a> {
    pub split: &'a Split,
    pub pipeline: &'a Pipeline,
    pub batch_size: usize,
    /// How images are drawn for training; otherwise they come in order and as they are.
    pub drawing: Option<Drawing<'a>>,
}

/// How training images are shuffled and augmented, and at which rates they train.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'a> {
    pub seed: u64,
    pub augmentation: Augmentation,
    /// Learning rates by iteration; the last holds on.
    pub rates: &'a [f32],
}

/// Sums of metrics over images.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    pub images: u64,
    pub loss: f64,
    /// Images whose label has the largest logit.
    pub correct: u64,
    /// Images whose label is among the five largest.
    pub correct_top_5: u64,
}

/// Time spent in one operator, summed over the steps since profiling began and over threads.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorTime {
    pub operator: String,
    pub calls: u64,
    pub time: Duration,
    pub flops: u64,
}

/// What can fail while a backend runs.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The loss or an activation is NaN or infinite; epoch and step count from 0, and from 1 in words.
    #[error("the loss is {loss} at epoch {}, step {}: first non-finite values in {operator}", epoch + 1, step + 1)]
    NonFinite { loss: f32, epoch: u32, step: u32, operator: String },
    #[error("state tensor `{name}`: {problem}")]
    State { name: String, problem: String },
    /// Memory that cannot be had.
    #[error("{0}")]
    Memory(String),
    #[error("{0}")]
    Other(String),
}

/// A compiled model with its parameters and optimizer state.
pub trait Engine {
    /// One training step: forward, loss, backward, AdamW. Any batch size from 1 up; a size seen
    /// for the first time compiles a program for it. Gives the loss, and leaves the logits of the
    /// step for [`Engine::logits`].
    ///
    /// # Errors
    /// [`BackendError::NonFinite`] names the first operator whose output is not finite.
    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<f32, BackendError>;

    /// Forward only, dropout off: the mean loss; logits by [`Engine::logits`].
    fn evaluate(&mut self, batch: &Batch) -> Result<f32, BackendError>;

    /// `[batch, num_classes]` of the last step or evaluation.
    fn logits(&self) -> &[f32];

    /// Names and shapes of what [`Engine::state`] gives.
    fn tensors(&self) -> Vec<(String, Vec<usize>)>;

    /// Parameters, then both moments, in a fixed order.
    ///
    /// # Errors
    /// When a device does not give them.
    fn state(&self) -> Result<Vec<StateTensor>, BackendError>;

    /// Sets the tensors given by name; others keep their values.
    ///
    /// # Errors
    /// [`BackendError::State`] for an unknown name or a wrong shape. Nothing is changed then.
    fn load_state(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError>;

    /// The gradients of one batch by parameter name, without an update and without dropout. For
    /// tests.
    fn gradients(&mut self, batch: &Batch) -> Result<Vec<StateTensor>, BackendError>;

    /// Takes a part of the data, to make its batches itself from then on. False from an engine that does not, or
    /// has no room for it: it is given batches.
    ///
    /// # Errors
    /// When a device does not work.
    fn keep_images(&mut self, _part: Part, _images: &ImageSet) -> Result<bool, BackendError> {
        Ok(false)
    }

    /// Trains `steps` steps of an epoch on the training images that it keeps, from one on: the sums over their
    /// images. The learning rate of `from` is not read: rates are kept too.
    ///
    /// # Errors
    /// As [`Engine::train_step`].
    fn train_kept(&mut self, _from: &Step, _steps: u32) -> Result<Sums, BackendError> {
        Err(BackendError::Other("this backend keeps no images".into()))
    }

    /// Evaluates a part that it keeps.
    ///
    /// # Errors
    /// As [`Engine::evaluate`].
    fn evaluate_kept(&mut self, _part: Part) -> Result<Sums, BackendError> {
        Err(BackendError::Other("this backend keeps no images".into()))
    }

    /// Does the last step or evaluation again, on the same batch, and waits until it is done: what a benchmark
    /// times. An engine that has the batch where it computes need not take it again.
    ///
    /// # Errors
    /// As [`Engine::train_step`].
    fn repeat(&mut self, batch: &Batch, step: &Step, train: bool) -> Result<(), BackendError> {
        if train { self.train_step(batch, step) } else { self.evaluate(batch) }.map(|_| ())
    }

    /// The speed of large matrix products where it computes, in operations a second; `None` for this process'
    /// threads.
    ///
    /// # Errors
    /// When a device does not work.
    fn matmul_peak(&mut self) -> Result<Option<f64>, BackendError> {
        Ok(None)
    }

    /// Memory that it holds on a device, if it computes on one.
    fn device_bytes(&self) -> Option<u64> {
        None
    }

    /// Starts (and clears) or stops timing by operator.
    fn set_profiling(&mut self, _on: bool) {}

    /// Times since profiling began, longest first.
    fn profile(&self) -> Vec<OperatorTime> {
        Vec::new()
    }
}
