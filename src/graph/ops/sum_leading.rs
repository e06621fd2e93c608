use std::any::Any;

use crate::graph::{Builder, Gradients, Operation, Value, ops::viewed};

/// Sums over the leading axes until `shape` is left: the gradient of repeating over them.
/// x `[.., shape]`.
#[derive(Debug)]
pub struct SumLeading {
    /// Of the result: the last axes of the input.
    pub shape: Vec<usize>,
}

impl Operation for SumLeading {
    fn name(&self) -> &'static str {
        "sum_leading"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert!(inputs[0].ends_with(&self.shape), "sum_leading: {:?} to {:?}", inputs[0], self.shape);
        vec![self.shape.clone()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let length: usize = self.shape.iter().product();
        let sum = builder.prim_sum(&viewed(&inputs[0], &[inputs[0].len() / length, length]), 0);
        vec![viewed(&sum, &self.shape)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
