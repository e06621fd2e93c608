use std::any::Any;

use crate::{
    graph::{Builder, Gradients, Operation, Value},
    onnx::{Dim, Tensor, Writer},
};

/// `factor * x`.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// The same for all elements.
    pub factor: f32,
}

impl Operation for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("factor", self.factor.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.apply_one(*self, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        vec![builder.prim_affine(&inputs[0], self.factor, 0.0)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let factor = writer.scalar(self.factor);
        let operands = [inputs[0].clone(), factor];
        Some(writer.elementwise(&operands, shape, |writer, x, _| writer.binary("Mul", &x[0], &x[1])))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
