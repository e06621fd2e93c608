//! The operators, one file each: shape rule, gradient, decomposition.

mod accumulate;
mod activation;
mod add;
mod all;
mod attention;
mod average_pool2d;
mod batch_norm;
mod concat;
mod conv2d;
mod cross_entropy;
mod dense;
mod direction;
mod dropout;
mod expand;
mod global_norm;
mod head_product;
mod image_product;
mod layer_norm;
mod lookup;
mod mask_scores;
mod max_pool2d;
mod mean;
mod pointwise;
mod reshape;
mod rope;
mod scale;
mod sinusoid;
mod slice;
mod softmax;
mod sum_leading;
mod translate;
mod transpose;
mod update;
mod windows;

pub use accumulate::Accumulate;
pub use activation::{Activation, ActivationGradient};
pub use add::Add;
pub use all::{ALL, Differentiable, Entry, Example, Input};
pub(crate) use attention::AttentionShape;
pub use attention::{Attention, AttentionGradient};
pub use average_pool2d::{AveragePool2d, AveragePool2dGradient};
pub use batch_norm::{BatchMoments, BatchNorm, BatchNormGradient, BatchNormSums, BatchStatistics, MovingAverage};
pub use concat::Concat;
pub(crate) use conv2d::ConvShape;
pub use conv2d::{Conv2d, Conv2dInputGradient, Conv2dKernelGradient};
pub use cross_entropy::{CrossEntropy, CrossEntropyGradient};
pub use dense::{Dense, DenseInputGradient, DenseKernelGradient};
pub use direction::Direction;
pub use dropout::{Dropout, RandomState};
pub use expand::Expand;
pub use global_norm::{ClipFactor, Total};
pub use head_product::HeadProduct;
pub(crate) use head_product::{Axes, Roles, position};
pub use image_product::ImageProduct;
pub use layer_norm::{LayerNorm, LayerNormGradient};
pub use lookup::{Lookup, LookupGradient};
pub use mask_scores::MaskScores;
pub use max_pool2d::{MaxPool2d, MaxPool2dGradient};
pub use mean::{Mean, MeanGradient};
pub use pointwise::{Operand, Pointwise};
pub use reshape::Reshape;
pub use rope::Rope;
pub use scale::Scale;
pub use sinusoid::{AddSinusoid, Layout};
pub use slice::{Pad, Slice};
pub use softmax::{Softmax, SoftmaxGradient};
pub use sum_leading::SumLeading;
pub use translate::{Movement, Run, Translate};
pub use transpose::Transpose;
pub use update::Update;
pub use windows::{Pool2d, Windows};

/// Floating-point operations of a product with these lengths, a multiply-add counting two; saturates.
pub(crate) fn flops(lengths: impl IntoIterator<Item = usize>) -> u64 {
    lengths.into_iter().fold(2, |product: u64, length| product.saturating_mul(length as u64))
}

/// Merges all axes but the last.
pub(crate) fn flat(shape: &[usize]) -> [usize; 2] {
    let last = shape.last().copied().unwrap_or(1);
    [shape.iter().product::<usize>() / last.max(1), last]
}

/// Splits a shape around an axis: elements before, the axis, elements after.
pub(crate) fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

/// The same contiguous elements under another shape, without a node.
pub(crate) fn viewed(value: &super::Value, shape: &[usize]) -> super::Value {
    debug_assert_eq!(value.len(), shape.iter().product::<usize>());
    super::Value { shape: shape.to_vec(), ..value.clone() }
}
