use std::any::Any;

use super::{around, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// `length` entries of one axis from `start` on.
#[derive(Debug)]
pub struct Slice {
    /// Counted from 0, the batch.
    pub axis: usize,
    /// The first entry that is taken, from 0.
    pub start: usize,
    /// Entries that are taken.
    pub length: usize,
}

impl Operation for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string()), ("start", self.start.to_string()), ("length", self.length.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let mut shape = inputs[0].to_vec();
        assert!(self.start + self.length <= shape[self.axis], "slice of {shape:?}: {self:?}");
        shape[self.axis] = self.length;
        vec![shape]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let after = site.inputs[0].shape[self.axis] - self.start - self.length;
        let pad = Pad { axis: self.axis, before: self.start, after };
        vec![Some(builder.apply_one(pad, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let merged = viewed(&inputs[0], &around(&inputs[0].shape, self.axis));
        let slice = builder.prim_contiguous(View::from(&merged).slice(1, self.start, self.length));
        vec![viewed(&slice, &self.output_shapes(&[&inputs[0].shape])[0])]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], _: &[Dim]) -> Option<Tensor> {
        Some(writer.slice(&inputs[0], self.axis, self.start, self.length))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Zeros before and after one axis: the gradient of [`Slice`].
#[derive(Debug)]
pub struct Pad {
    /// Counted from 0, the batch.
    pub axis: usize,
    /// Zeros before the first entry.
    pub before: usize,
    /// Zeros after the last entry.
    pub after: usize,
}

impl Operation for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string()), ("before", self.before.to_string()), ("after", self.after.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let mut shape = inputs[0].to_vec();
        shape[self.axis] += self.before + self.after;
        vec![shape]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.slice(&site.grads[0], self.axis, self.before, site.inputs[0].shape[self.axis]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let merged = viewed(&inputs[0], &around(&inputs[0].shape, self.axis));
        let padded = builder.prim_contiguous(View::from(&merged).pad(1, self.before, self.after));
        vec![viewed(&padded, &self.output_shapes(&[&inputs[0].shape])[0])]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], _: &[Dim]) -> Option<Tensor> {
        Some(writer.pad(&inputs[0], self.axis, self.before, self.after))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
