use super::LossKind;
use crate::graph::{
    ops::CrossEntropy,
    optimizers::{Range, Setting},
};

/// Keras' `SparseCategoricalCrossentropy(from_logits=True)`, with `CategoricalCrossentropy`'s smoothing.
pub static CROSS_ENTROPY: LossKind = LossKind {
    name: "cross_entropy",
    about: "softmax cross-entropy with the label",
    options: &[Setting {
        name: "label_smoothing",
        default: 0.0,
        range: Range::BelowOne,
        about: "the share of the target that is spread evenly over all classes",
    }],
    apply: |loss, builder, logits, labels| {
        let operation = CrossEntropy { label_smoothing: loss.option("label_smoothing") };
        builder.apply_one(operation, &[logits, labels])
    },
};
