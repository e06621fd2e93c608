//! The kernels of operators: a file for each family, and the table in which they are found.

mod accumulate;
mod attention;
mod average_pool2d;
mod batch_norm;
mod conv2d;
mod dense;
mod global_norm;
mod head_product;
mod image_product;
mod layout;
mod lookup;
mod loss;
mod mask_scores;
mod max_pool2d;
mod normalization;
mod pointwise;
mod reduction;
mod rope;
mod sinusoid;
mod softmax;
mod translate;
pub mod update;

use std::any::TypeId;

use super::{
    kernel::Kernel,
    kernels::{dropout, gemm::panels::Panels},
};
use crate::graph::{
    Operation,
    ops::{self, RandomState, around},
};

/// Where an operator stands.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Of the inputs, batch axis included.
    pub shapes: &'a [&'a [usize]],
    /// The panels that the second input is kept in, if it is a parameter that is. Of an update and of its
    /// direction: the first.
    pub panels: Option<Panels>,
}

/// The part that an operator plays for the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A call of its kernel.
    Compute,
    /// The same elements under another shape: no call.
    View,
    /// Repeats for each image what has none.
    Repeat,
    /// A sum of two tensors, which the product that makes one of them may take over.
    Sum,
    /// Works on parameters alone, before the regions, or on gradients of what it made there, after them.
    OfParameters,
    /// The gradient of a kernel: of one row per image, its only update makes it piece by piece.
    KernelGradient,
    /// Adds a gradient to those of former micro-batches: once it is there, and before what follows.
    Accumulate,
    /// Of the norm of all gradients, which updates read: between the gradients and the updates.
    Norm,
    /// The direction of a matrix' update: after that norm, all together, for each is a task.
    Direction,
    /// Changes a parameter and what the optimizer keeps of it.
    Update,
}

/// What an operator may do with a parameter that is kept in panels, as its second input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PanelUse {
    /// Multiplies rows by it: what it is in panels for.
    Layer,
    /// Multiplies rows by its transpose.
    LayerGradient,
    /// Updates it together with its gradient.
    Update,
}

/// What the scheduler knows of an operator, whatever its shapes. The rest is said by its [`Kernel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduling {
    pub role: Role,
    pub panels: Option<PanelUse>,
}

impl Scheduling {
    /// A call that nothing is special about.
    pub const PLAIN: Self = Self { role: Role::Compute, panels: None };
}

/// An operator that this backend has a kernel for.
pub trait Lower: Operation {
    const SCHEDULING: Scheduling = Scheduling::PLAIN;

    /// The kernel where it stands; `None` for what has none: a view, or a form that no model takes.
    fn lower(&self, site: &Site) -> Option<Kernel>;
}

/// A row of the table.
pub struct Entry {
    operator: fn() -> TypeId,
    pub scheduling: Scheduling,
    lower: fn(&dyn Operation, &Site) -> Option<Kernel>,
}

const fn entry<O: Lower>() -> Entry {
    Entry {
        operator: TypeId::of::<O>,
        scheduling: O::SCHEDULING,
        lower: |operation, site| operation.as_any().downcast_ref::<O>()?.lower(site),
    }
}

/// All operators that have a kernel.
static TABLE: &[Entry] = &[
    entry::<ops::Accumulate>(),
    entry::<ops::Activation>(),
    entry::<ops::ActivationGradient>(),
    entry::<ops::Add>(),
    entry::<ops::AddSinusoid>(),
    entry::<ops::Attention>(),
    entry::<ops::AttentionGradient>(),
    entry::<ops::AveragePool2d>(),
    entry::<ops::AveragePool2dGradient>(),
    entry::<ops::BatchMoments>(),
    entry::<ops::BatchNorm>(),
    entry::<ops::BatchNormGradient>(),
    entry::<ops::BatchNormSums>(),
    entry::<ops::BatchStatistics>(),
    entry::<ops::ClipFactor>(),
    entry::<ops::Concat>(),
    entry::<ops::Conv2d>(),
    entry::<ops::Conv2dInputGradient>(),
    entry::<ops::Conv2dKernelGradient>(),
    entry::<ops::CrossEntropy>(),
    entry::<ops::CrossEntropyGradient>(),
    entry::<ops::Dense>(),
    entry::<ops::DenseInputGradient>(),
    entry::<ops::DenseKernelGradient>(),
    entry::<ops::Direction>(),
    entry::<ops::Dropout>(),
    entry::<ops::Expand>(),
    entry::<ops::HeadProduct>(),
    entry::<ops::ImageProduct>(),
    entry::<ops::LayerNorm>(),
    entry::<ops::LayerNormGradient>(),
    entry::<ops::Lookup>(),
    entry::<ops::LookupGradient>(),
    entry::<ops::MaskScores>(),
    entry::<ops::MaxPool2d>(),
    entry::<ops::MaxPool2dGradient>(),
    entry::<ops::Mean>(),
    entry::<ops::MeanGradient>(),
    entry::<ops::MovingAverage>(),
    entry::<ops::Pad>(),
    entry::<ops::Pointwise>(),
    entry::<ops::Reshape>(),
    entry::<ops::Rope>(),
    entry::<ops::Scale>(),
    entry::<ops::Slice>(),
    entry::<ops::Softmax>(),
    entry::<ops::SoftmaxGradient>(),
    entry::<ops::SumLeading>(),
    entry::<ops::Total>(),
    entry::<ops::Translate>(),
    entry::<ops::Transpose>(),
    entry::<ops::Update>(),
];

fn find(operation: &dyn Operation) -> Option<&'static Entry> {
    let operator = operation.as_any().type_id();
    TABLE.iter().find(|entry| (entry.operator)() == operator)
}

/// What the scheduler knows of an operator.
pub fn scheduling(operation: &dyn Operation) -> Scheduling {
    find(operation).map_or(Scheduling::PLAIN, |entry| entry.scheduling)
}

/// The kernel of an operator where it stands; `None` when this backend has none.
pub fn kernel(operation: &dyn Operation, site: &Site) -> Option<Kernel> {
    (find(operation)?.lower)(operation, site)
}

/// Rows of a kernel's gradient that a task computes.
const ROWS: usize = 256;

/// The dropout mask at an iteration, its key read from the encoded state.
fn mask(operator: &ops::Dropout, encoded: &[f32]) -> dropout::Mask {
    let random = RandomState::decode(encoded);
    dropout::Mask::new(random.philox, operator.stream, random.iteration, operator.rate)
}

/// Scratch as a function of rows, for a tensor of a known number of rows per image.
fn rows_scratch(
    shape: &[usize],
    scratch: impl Fn(usize) -> usize + Send + Sync + 'static,
) -> impl Fn(usize) -> usize + Send + Sync + 'static {
    let rows_per_image: usize = shape[1..shape.len() - 1].iter().product();
    move |images| scratch(images * rows_per_image)
}

/// The part of a per-image tensor that belongs to one image of a call.
fn image(tensor: &[f32], images: usize, index: usize) -> &[f32] {
    let len = tensor.len() / images;
    &tensor[index * len..][..len]
}

fn image_mut(tensor: &mut [f32], images: usize, index: usize) -> &mut [f32] {
    let len = tensor.len() / images;
    &mut tensor[index * len..][..len]
}

/// The extents of one image around an axis: the batch axis goes, so axes count one less. `None` for the batch axis.
fn inner(shape: &[usize], axis: usize) -> Option<[usize; 3]> {
    axis.checked_sub(1).map(|axis| around(&shape[1..], axis))
}
