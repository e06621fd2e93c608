//! Backends: what runs a model's training step and its evaluation.
//!
//! `reference` runs the graph decomposed into luminal's primitives on luminal's own CPU compiler:
//! slow, and the oracle of every test. `cpu` is ours.

mod buffer;
pub mod cpu;
mod kind;
mod program_diagram;
pub mod reference;
mod store;
mod task;

use std::time::Duration;

pub use buffer::Buffer;
pub use kind::Backend;
pub use store::Store;
pub(crate) use task::Task;

use crate::graph::ops::AdamWUpdate;

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

    /// Parameters, then both moments, in a fixed order.
    fn state(&self) -> Vec<StateTensor>;

    /// Sets the tensors given by name; others keep their values.
    ///
    /// # Errors
    /// [`BackendError::State`] for an unknown name or a wrong shape. Nothing is changed then.
    fn load_state(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError>;

    /// The gradients of one batch by parameter name, without an update and without dropout. For
    /// tests.
    fn gradients(&mut self, batch: &Batch) -> Result<Vec<StateTensor>, BackendError>;

    /// Starts (and clears) or stops timing by operator.
    fn set_profiling(&mut self, _on: bool) {}

    /// Times since profiling began, longest first.
    fn profile(&self) -> Vec<OperatorTime> {
        Vec::new()
    }
}
