use std::any::Any;

use super::viewed;
use crate::{
    graph::{Builder, Gradients, Operation, Value},
    onnx::{Dim, Tensor, Writer},
};

/// The same elements in the same order under another shape. Costs nothing: backends alias it.
#[derive(Debug)]
pub struct Reshape {
    /// Of the result; as many elements as the input.
    pub shape: Vec<usize>,
}

impl Operation for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        assert_eq!(count(inputs[0]), count(&self.shape), "reshape {:?} to {:?}", inputs[0], self.shape);
        vec![self.shape.clone()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.reshape(&site.grads[0], &site.inputs[0].shape))]
    }

    fn decompose(&self, _: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        vec![viewed(&inputs[0], &self.shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        Some(writer.reshape(&inputs[0], shape))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
