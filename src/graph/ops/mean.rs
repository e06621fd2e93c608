use std::any::Any;

use super::{around, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Mean over one axis, which disappears: global average pooling over tokens.
#[derive(Debug)]
pub struct Mean {
    /// Counted from 0, the batch.
    pub axis: usize,
}

impl Operation for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let mut shape = inputs[0].to_vec();
        shape.remove(self.axis);
        vec![shape]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let length = site.inputs[0].shape[self.axis];
        vec![Some(builder.apply_one(MeanGradient { axis: self.axis, length }, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let [outer, length, inner] = around(&inputs[0].shape, self.axis);
        let sum = builder.prim_sum(&viewed(&inputs[0], &[outer, length, inner]), 1);
        let mean = builder.prim_affine(&sum, 1.0 / length as f32, 0.0);
        vec![viewed(&mean, &self.output_shapes(&[&inputs[0].shape])[0])]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], _: &[Dim]) -> Option<Tensor> {
        Some(writer.mean(&inputs[0], self.axis))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Spreads the gradient of [`Mean`] evenly along a new axis of `length`.
#[derive(Debug)]
pub struct MeanGradient {
    /// Where the axis is put in.
    pub axis: usize,
    /// What the gradient is divided by.
    pub length: usize,
}

impl Operation for MeanGradient {
    fn name(&self) -> &'static str {
        "mean_gradient"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string()), ("length", self.length.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let mut shape = inputs[0].to_vec();
        shape.insert(self.axis, self.length);
        vec![shape]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.mean(&site.grads[0], self.axis))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shape = self.output_shapes(&[&inputs[0].shape]).swap_remove(0);
        let [outer, length, inner] = around(&shape, self.axis);
        let spread = View::from(&viewed(&inputs[0], &[outer, inner])).expand(1, length);
        let grad = builder.prim_affine(spread, 1.0 / length as f32, 0.0);
        vec![viewed(&grad, &shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        // A product with equal shares repeats along their axis, without a shape that would depend on the batch.
        let mut lengths = vec![1; shape.len()];
        lengths[self.axis] = self.length;
        let shares = writer.floats(&lengths, vec![1.0 / self.length as f32; self.length]);
        let x = writer.unsqueeze(&inputs[0], self.axis);
        Some(writer.binary("Mul", &x, &shares))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
