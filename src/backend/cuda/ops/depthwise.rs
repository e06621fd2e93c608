//! Convolutions of each channel by itself, and the sum that the gradient of their input goes into.

use super::{Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::Emitter,
            operations::{Kind, Operation},
        },
        kernels::depthwise::Depthwise,
    },
    graph::ops::ConvShape,
};

fn of(shape: &ConvShape) -> Depthwise {
    Depthwise { images: shape.images, channels: shape.channels, windows: shape.windows }
}

pub fn forward(shape: &ConvShape) -> Reading {
    Reading::of(Kind::Depthwise { shape: of(shape) })
}

pub fn input_gradient(shape: &ConvShape) -> Reading {
    Reading::of(Kind::DepthwiseInputGradient { shape: of(shape), added: false })
}

pub fn kernel_gradient(shape: &ConvShape) -> Reading {
    Reading::storing(Kind::DepthwiseKernelGradient { shape: of(shape) }, &[Stored::Exact])
}

impl Emitter<'_> {
    pub fn depthwise(&mut self, operation: &Operation, shape: &Depthwise) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let bias = inputs.get(2).map(|&bias| self.at(bias));
        let launch = shape.forward(self.stored(inputs[0]), self.at(inputs[1]), bias, self.stored(outputs[0]));
        self.launch(launch, outputs);
    }

    pub fn depthwise_input_gradient(&mut self, operation: &Operation, shape: &Depthwise) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let added = inputs.get(2).map(|&id| self.activation(id));
        let launch = shape.input_gradient(self.stored(inputs[0]), self.at(inputs[1]), added, self.stored(outputs[0]));
        self.launch(launch, outputs);
    }

    pub fn depthwise_kernel_gradient(&mut self, operation: &Operation, shape: &Depthwise) {
        let [x, dy] = [0, 1].map(|input| self.stored(operation.inputs[input]));
        let (workspace, out) = (self.scratch(shape.workspace()), self.at(operation.outputs[0]));
        self.launches(shape.kernel_gradient(x, dy, workspace, out), &operation.outputs);
    }
}
