use super::{BackendError, Batch, Inspect, Precision, Regions, Resident, Step};
use crate::{
    graph::{losses::Loss, optimizers::Optimizer},
    passes::Lowering,
};

/// How an engine is compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// What a training step does with gradients.
    pub optimizer: Optimizer,
    /// What training minimises; evaluation has the plain cross-entropy.
    pub loss: Loss,
    /// Seeds initialisation and dropout.
    pub seed: u64,
    /// Worker threads; results do not depend on it.
    pub threads: usize,
    /// Of the `cuda` backend; the others compute in float32.
    pub precision: Precision,
    /// Of the `cuda` backend.
    pub regions: Regions,
}

/// A named tensor of an engine's state: `NAME` for a parameter, `optimizer/SLOT/NAME` for what the optimizer keeps of
/// it.
#[derive(Debug, Clone, PartialEq)]
pub struct StateTensor {
    /// `NAME`, `optimizer/SLOT/NAME`.
    pub name: String,
    /// As Keras stores the tensor.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub data: Vec<f32>,
}

/// A compiled model with its parameters and optimizer state.
///
/// What not every engine can do has a trait of its own, and a method here that says whether this one can.
pub trait Engine {
    /// One training step: forward, loss, backward, update. Any batch size from 1 up; a size seen
    /// for the first time compiles a program for it. Gives the loss, and leaves the logits of the
    /// step for [`Engine::logits`].
    ///
    /// # Errors
    /// [`BackendError::NonFinite`] names the first operator whose output is not finite.
    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<f32, BackendError>;

    /// Forward only, dropout off: the mean loss; logits by [`Engine::logits`].
    ///
    /// # Errors
    /// As [`Engine::train_step`].
    fn evaluate(&mut self, batch: &Batch) -> Result<f32, BackendError>;

    /// `[batch, num_classes]` of the last step or evaluation.
    fn logits(&self) -> &[f32];

    /// Names and shapes of what [`Engine::state`] gives.
    fn tensors(&self) -> Vec<(String, Vec<usize>)>;

    /// Parameters, then what the optimizer keeps of them, in a fixed order.
    ///
    /// # Errors
    /// When a device does not give them.
    fn state(&self) -> Result<Vec<StateTensor>, BackendError>;

    /// The parameters alone, in their order: what Keras' `save_weights_only` keeps.
    ///
    /// # Errors
    /// As [`Engine::state`].
    fn weights(&self) -> Result<Vec<StateTensor>, BackendError>;

    /// Sets the tensors given by name; others keep their values.
    ///
    /// # Errors
    /// [`BackendError::State`] for an unknown name or a wrong shape. Nothing is changed then.
    fn load_state(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError>;

    /// Lets it train and evaluate on images of another size as well, by another lowering with the same parameters: one set
    /// of parameters, and of what the optimizer keeps of them, for all sizes. Which of them a batch is for is told by
    /// its number of pixels.
    ///
    /// # Errors
    /// Other parameters, or as many pixels as another size has.
    fn add_size(&mut self, lowering: Box<Lowering>) -> Result<(), BackendError>;

    /// The engine as one that keeps images, and makes the batches of them itself; `None` from an engine that has to be
    /// given batches.
    fn resident(&mut self) -> Option<&mut dyn Resident>;

    /// The engine as benchmarks and tests look into it.
    fn inspect(&mut self) -> &mut dyn Inspect;
}
