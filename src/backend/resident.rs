use std::sync::Arc;

use super::{BackendError, Engine, StateTensor, Step};
use crate::{
    data::{Pipeline, Split, transforms::Plan},
    metrics::Totals,
};

/// A part of the data that an engine may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// What is trained on.
    Training,
    /// What is evaluated after each epoch.
    Validation,
}

/// Images of a part of the data, and how batches are made of them.
#[derive(Clone, Copy)]
pub struct ImageSet<'a> {
    /// The images as bytes, with their labels.
    pub split: &'a Split,
    /// What makes normalised batches of the bytes.
    pub pipeline: &'a Pipeline,
    /// Images of a batch; the last one may have fewer.
    pub batch_size: usize,
    /// How images are drawn for training; otherwise they come in order and as they are.
    pub drawing: Option<Drawing<'a>>,
}

/// How training images are shuffled and augmented, and at which rates they train.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'a> {
    /// Of the training: with the epoch it addresses the draws.
    pub seed: u64,
    /// How many times in a row an epoch has an image, see [`crate::data::order::repeated`].
    pub repeats: u32,
    /// What is drawn for each image.
    pub augmentation: &'a Arc<Plan>,
    /// Learning rates by iteration; the last holds on.
    pub rates: &'a [f32],
    /// From which epochs on, from 0, batches are made smaller, `(height, width)`; by their epochs. A lowering for each is
    /// [added](Engine::add_size) before.
    pub sizes: &'a [(u32, (usize, usize))],
}

/// An engine that takes the images once, and makes batches of them where it computes.
pub trait Resident: Engine {
    /// Takes a part of the data. False when there is no room for it: then it is given batches.
    ///
    /// # Errors
    /// When a device does not work.
    fn keep_images(&mut self, part: Part, images: &ImageSet) -> Result<bool, BackendError>;

    /// Makes all ready that so many steps of an epoch need, from one on: kernels compiled, algorithms of products chosen.
    /// [`Resident::train_kept`] does so too, in time that then counts as training.
    ///
    /// # Errors
    /// As [`Resident::train_kept`].
    fn ready_for(&mut self, from: &Step, steps: u32) -> Result<(), BackendError>;

    /// Trains `steps` steps of an epoch on the training images that it keeps, from one on: the sums over their
    /// images. The learning rate of `from` is not read: rates are kept too.
    ///
    /// # Errors
    /// As [`Engine::train_step`], and when no training images are kept.
    fn train_kept(&mut self, from: &Step, steps: u32) -> Result<Totals, BackendError>;

    /// Evaluates a part that it keeps.
    ///
    /// # Errors
    /// As [`Engine::evaluate`], and when that part is not kept.
    fn evaluate_kept(&mut self, part: Part) -> Result<Totals, BackendError>;

    /// Keeps a copy of the parameters as they are now, instead of an earlier one, where it computes. False when there
    /// is no room for it, and there is no copy then.
    ///
    /// # Errors
    /// When a device does not work.
    fn keep_weights(&mut self) -> Result<bool, BackendError>;

    /// The parameters that [`Resident::keep_weights`] kept, as [`Engine::weights`] gives them.
    ///
    /// # Errors
    /// When a device does not give them, and when none are kept.
    fn kept_weights(&self) -> Result<Vec<StateTensor>, BackendError>;
}
