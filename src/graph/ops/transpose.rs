use std::any::Any;

use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Permutes axes: output axis `i` is input axis `permutation[i]`.
#[derive(Debug)]
pub struct Transpose {
    /// Each axis of the input once, counted from 0, the batch.
    pub permutation: Vec<usize>,
}

impl Operation for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("permutation", format!("{:?}", self.permutation))]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert_eq!(inputs[0].len(), self.permutation.len(), "transpose");
        vec![self.permutation.iter().map(|&axis| inputs[0][axis]).collect()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let mut inverse = vec![0; self.permutation.len()];
        for (to, &from) in self.permutation.iter().enumerate() {
            inverse[from] = to;
        }
        vec![Some(builder.transpose(&site.grads[0], &inverse))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        vec![builder.prim_contiguous(View::from(&inputs[0]).permute(&self.permutation))]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], _: &[Dim]) -> Option<Tensor> {
        Some(writer.transpose(&inputs[0], &self.permutation))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
