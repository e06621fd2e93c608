//! Softmax over the last axis.

use super::{Read, Reading};
use crate::{
    backend::cuda::kernels::softmax,
    graph::ops::{self, flat},
};

impl Read for ops::Softmax {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, width] = flat(shapes[0]);
        Some(Reading::call(move |emitter, operation| {
            let (inputs, outputs) = (&operation.inputs, &operation.outputs);
            let (x, y) = (emitter.activation(inputs[0]), emitter.at(outputs[0]));
            emitter.launch(softmax::forward(rows, width, emitter.precision, x, y), outputs);
        }))
    }
}

impl Read for ops::SoftmaxGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, width] = flat(shapes[0]);
        Some(Reading::call(move |emitter, operation| {
            let (inputs, outputs) = (&operation.inputs, &operation.outputs);
            let (dy, y, dx) = (emitter.activation(inputs[0]), emitter.activation(inputs[1]), emitter.at(outputs[0]));
            emitter.launch(softmax::backward(rows, width, emitter.precision, dy, y, dx), outputs);
        }))
    }
}
