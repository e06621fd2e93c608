use super::{Loss, LossKind};
use crate::graph::{
    ops::CrossEntropy,
    optimizers::{Range, Setting},
};

const OPTIONS: &[Setting] = &[Setting {
    name: "label_smoothing",
    default: 0.0,
    range: Range::BelowOne,
    about: "the share of the target that is spread evenly over all classes",
}];

fn of(loss: &Loss, per_class: bool) -> CrossEntropy {
    let class_weights = loss.class_weights.clone();
    CrossEntropy { label_smoothing: loss.option("label_smoothing"), per_class, class_weights }
}

/// Keras' `SparseCategoricalCrossentropy(from_logits=True)`, with `CategoricalCrossentropy`'s smoothing.
pub static CROSS_ENTROPY: LossKind = LossKind {
    name: "cross_entropy",
    about: "softmax cross-entropy with the label",
    options: OPTIONS,
    apply: |loss, builder, logits, labels| builder.apply_one(of(loss, false), &[logits, labels]),
};

/// timm's `BinaryCrossEntropy`, with which DeiT III trains.
pub static BINARY_CROSS_ENTROPY: LossKind = LossKind {
    name: "binary_cross_entropy",
    about: "of each class with whether it is the label, the mean over all classes",
    options: OPTIONS,
    apply: |loss, builder, logits, labels| builder.apply_one(of(loss, true), &[logits, labels]),
};
