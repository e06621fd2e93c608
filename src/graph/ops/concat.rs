use std::any::Any;

use super::{around, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Joins tensors along one axis; all other axes agree.
#[derive(Debug)]
pub struct Concat {
    /// Counted from 0, the batch.
    pub axis: usize,
}

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let mut shape = inputs[0].to_vec();
        shape[self.axis] = inputs.iter().map(|input| input[self.axis]).sum();
        vec![shape]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let mut start = 0;
        site.inputs
            .iter()
            .zip(site.wanted)
            .map(|(input, wanted)| {
                let length = input.shape[self.axis];
                start += length;
                wanted.then(|| builder.slice(&site.grads[0], self.axis, start - length, length))
            })
            .collect()
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|value| value.shape.as_slice()).collect();
        let shape = self.output_shapes(&shapes).swap_remove(0);
        let [_, total, _] = around(&shape, self.axis);
        let mut sum: Option<Value> = None;
        let mut before = 0;
        for input in inputs {
            let [outer, length, inner] = around(&input.shape, self.axis);
            let view = View::from(&viewed(input, &[outer, length, inner])).pad(1, before, total - before - length);
            let padded = builder.prim_contiguous(view);
            before += length;
            sum = Some(match sum {
                Some(sum) => builder.prim_add(&sum, &padded),
                None => padded,
            });
        }
        sum.iter().map(|sum| viewed(sum, &shape)).collect()
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], _: &[Dim]) -> Option<Tensor> {
        Some(writer.concat(inputs, self.axis))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
