use std::any::Any;

use super::{SumLeading, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Repeats the whole tensor along a new first axis: `[..]` to `[count, ..]`.
#[derive(Debug)]
pub struct Expand {
    /// How often the tensor stands in the result.
    pub count: usize,
}

impl Operation for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("count", self.count.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![[&[self.count], inputs[0]].concat()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let shape = site.inputs[0].shape.clone();
        vec![Some(builder.apply_one(SumLeading { shape }, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let flat = viewed(&inputs[0], &[inputs[0].len()]);
        let expanded = builder.prim_contiguous(View::from(&flat).expand(0, self.count));
        vec![viewed(&expanded, &self.output_shapes(&[&inputs[0].shape])[0])]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        Some(writer.expand(&inputs[0], shape))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
