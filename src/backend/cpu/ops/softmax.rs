//! Softmax over the last axis.

use super::{Lower, Site};
use crate::{
    backend::cpu::{kernel::Kernel, kernels::softmax},
    graph::ops::{self, flat},
};

impl Lower for ops::Softmax {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [_, width] = flat(site.shapes[0]);
        Some(Kernel::per_image(move |call| {
            softmax::forward(call.inputs[0].len() / width, width, call.inputs[0], call.outputs[0])
        }))
    }
}

impl Lower for ops::SoftmaxGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [_, width] = flat(site.shapes[0]);
        Some(Kernel::per_image(move |call| {
            softmax::backward(call.inputs[0].len() / width, width, call.inputs[1], call.inputs[0], call.outputs[0]);
        }))
    }
}
