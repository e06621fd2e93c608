//! The operators on this backend: a file for each family, which reads them and makes their calls, and the table in
//! which they are found.

pub mod attention;
pub mod average_pool2d;
mod batch_norm;
mod conv2d;
mod dense;
mod depthwise;
mod early;
mod head_product;
pub mod image_product;
mod layout;
pub mod lookup;
mod loss;
pub mod mask_scores;
pub mod max_pool2d;
mod normalization;
mod pointwise;
mod reduction;
pub mod rope;
pub mod sinusoid;
mod softmax;
mod update;

use std::{any::TypeId, rc::Rc};

use super::{
    compile::{
        emit::{Emitter, Symbol},
        operations::{Calls, Kind, Operation},
    },
    launch::{Element, Launch},
};
use crate::graph::{Operation as GraphOperation, ops};

/// How an output is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// In the type of activations.
    Activations,
    /// As float32.
    Exact,
    /// As float32 if all inputs are.
    AsInputs,
    /// In place of the tensor so many float32 numbers.
    Numbers(usize),
}

/// What an operator is here.
pub enum Reading {
    /// The same elements under another shape: nothing to do.
    View,
    /// The update of a parameter: one call updates all that have one rule.
    Update,
    /// A step of a moving average, which is made when the loss is known.
    Average,
    /// Part of the update, whose calls do it.
    OfUpdate,
    /// Adds up the gradient of a parameter: one call does all.
    Accumulate(ops::Accumulate),
    /// Outputs that `stored` does not name are activations.
    Operation { kind: Kind, stored: Vec<Stored> },
}

impl Reading {
    /// An operation that rewrites know.
    fn of(kind: Kind) -> Self {
        Self::storing(kind, &[])
    }

    fn storing(kind: Kind, stored: &[Stored]) -> Self {
        Self::Operation { kind, stored: stored.to_vec() }
    }

    /// An operation that no rewrite looks into, by what makes its calls.
    fn call(calls: impl Fn(&mut Emitter, &Operation) + 'static) -> Self {
        Self::of(Kind::Call(Calls(Rc::new(calls))))
    }

    /// A launch from one tensor to another, whose types may differ: a parameter is read in full precision.
    fn moving(launch: impl Fn((Element, Symbol), (Element, Symbol)) -> Launch<Symbol> + 'static) -> Self {
        Self::call(move |emitter, operation| {
            let (x, y) = (emitter.stored(operation.inputs[0]), emitter.stored(operation.outputs[0]));
            emitter.launch(launch(x, y), &operation.outputs);
        })
    }

    /// The same with outputs kept so.
    fn stored(self, stored: &[Stored]) -> Self {
        match self {
            Self::Operation { kind, .. } => Self::storing(kind, stored),
            other => other,
        }
    }
}

/// An operator that this backend knows.
pub trait Read: GraphOperation {
    /// What it is on inputs of these shapes; `None` for a form that no model takes.
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading>;
}

/// A row of the table.
struct Entry {
    operator: fn() -> TypeId,
    read: fn(&dyn GraphOperation, &[&[usize]]) -> Option<Reading>,
}

const fn entry<O: Read>() -> Entry {
    Entry { operator: TypeId::of::<O>, read: |operation, shapes| operation.as_any().downcast_ref::<O>()?.read(shapes) }
}

/// All operators that this backend knows.
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

/// What an operator is on inputs of these shapes; `None` if this backend does not know it.
pub fn read(operation: &dyn GraphOperation, shapes: &[&[usize]]) -> Option<Reading> {
    let operator = operation.as_any().type_id();
    let entry = TABLE.iter().find(|entry| (entry.operator)() == operator)?;
    (entry.read)(operation, shapes)
}

/// Makes the calls of an operation.
pub fn emit(emitter: &mut Emitter, operation: &Operation) {
    match &operation.kind {
        Kind::Dense { .. } | Kind::DenseInputGradient { .. } | Kind::DenseKernelGradient { .. } => {
            emitter.product(operation);
        }
        &Kind::SumRows { rows, width } => emitter.sum_rows(operation, [rows, width]),
        &Kind::LayerNorm { rows, width, epsilon, residual } => {
            emitter.layer_norm(operation, [rows, width], epsilon, residual);
        }
        &Kind::LayerNormGradient { rows, width, .. } => emitter.layer_norm_gradient(operation, [rows, width]),
        &Kind::BatchMoments { rows, channels } => emitter.batch_moments(operation, [rows, channels]),
        &Kind::BatchNorm { rows, channels, epsilon, then } => {
            emitter.batch_norm(operation, [rows, channels], epsilon, then);
        }
        &Kind::BatchNormSums { rows, channels, epsilon, activation } => {
            emitter.batch_norm_sums(operation, [rows, channels], epsilon, activation);
        }
        &Kind::BatchNormGradient { rows, channels, epsilon, share, activation } => {
            emitter.batch_norm_gradient(operation, [rows, channels], [epsilon, share], activation);
        }
        &Kind::Conv2dInputGradient { shape, .. } => emitter.conv2d_input_gradient(operation, shape),
        Kind::Depthwise { shape } => emitter.depthwise(operation, shape),
        Kind::DepthwiseKernelGradient { shape } => emitter.depthwise_kernel_gradient(operation, shape),
        Kind::DepthwiseInputGradient { shape, .. } => emitter.depthwise_input_gradient(operation, shape),
        &Kind::Attention { shape, operator } => emitter.attention(operation, shape, operator),
        &Kind::AttentionGradient { shape, operator } => emitter.attention_gradient(operation, shape, operator),
        Kind::ProjectedAttention { projected, shape, operator, bias } => {
            emitter.projected_attention(operation, projected, (*shape, *operator), *bias);
        }
        Kind::ProjectedAttentionGradient { projected, shape, operator } => {
            emitter.projected_attention_gradient(operation, projected, (*shape, *operator));
        }
        Kind::HeadProduct(products) => emitter.head_product(operation, products),
        &Kind::SumHeads { rows, heads, width, .. } => emitter.sum_heads(operation, [rows, heads, width]),
        &Kind::Pointwise(pointwise) => emitter.pointwise(operation, pointwise),
        &Kind::PointwiseGradient(pointwise) => emitter.pointwise_gradient(operation, pointwise),
        &Kind::Add { width, .. } => emitter.sum(operation, width),
        Kind::CrossEntropy { rows, width, loss, mixed } => {
            emitter.cross_entropy(operation, [*rows, *width], loss, *mixed);
        }
        // The loss makes it.
        Kind::CrossEntropyGradient => {}
        Kind::Call(calls) => (calls.0)(emitter, operation),
        Kind::Region(region) => emitter.region(operation, region),
    }
}
