//! The loss.

use super::{Lower, Site};
use crate::{
    backend::cpu::{
        kernel::{Kernel, Split},
        kernels::{binary_cross_entropy, cross_entropy},
    },
    graph::ops::{self, flat},
};

impl Lower for ops::CrossEntropy {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [batch, width] = flat(site.shapes[0]);
        let (smoothing, per_class) = (self.label_smoothing, self.per_class);
        let weights = self.class_weights.clone().unwrap_or_default();
        Some(
            Kernel::per_image(move |call| {
                let losses = &mut call.scratch[..batch];
                let forward = if per_class { binary_cross_entropy::forward } else { cross_entropy::forward };
                forward(batch, width, call.inputs[0], call.inputs[1], smoothing, &weights, losses);
                let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
                call.outputs[0][0] = (sum / batch as f64) as f32;
            })
            .scratch(move |_| batch)
            .split(Split::Once),
        )
    }
}

impl Lower for ops::CrossEntropyGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (batch, classes) = (site.shapes[1][0], site.shapes[1][1]);
        let (smoothing, per_class) = (self.0.label_smoothing, self.0.per_class);
        let weights = self.0.class_weights.clone().unwrap_or_default();
        Some(Kernel::per_image(move |call| {
            let scale = call.inputs[0][0] / batch as f32;
            let (logits, labels) = (call.inputs[1], call.inputs[2]);
            let backward = if per_class { binary_cross_entropy::backward } else { cross_entropy::backward };
            backward(logits.len() / classes, classes, logits, labels, smoothing, &weights, scale, call.outputs[0]);
        }))
    }
}
