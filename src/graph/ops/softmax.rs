use std::any::Any;

use super::{flat, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Softmax over the last axis.
#[derive(Debug)]
pub struct Softmax;

/// Softmax of `[rows, last]` in primitives, stabilised by the row maximum.
pub(crate) fn prim_softmax(builder: &mut Builder, x: &Value) -> Value {
    let last = x.shape[1];
    let max = builder.prim_max(x, 1);
    let shifted = builder.prim_sub(x, View::from(&max).expand(1, last));
    let exps = builder.prim_exp(&shifted);
    let sum = builder.prim_sum(&exps, 1);
    let recip = builder.prim_recip(&sum);
    builder.prim_mul(&exps, View::from(&recip).expand(1, last))
}

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.apply_one(SoftmaxGradient, &[&site.grads[0], &site.outputs[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let y = prim_softmax(builder, &viewed(&inputs[0], &flat(&inputs[0].shape)));
        vec![viewed(&y, &inputs[0].shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], _: &[Dim]) -> Option<Tensor> {
        Some(writer.softmax(&inputs[0]))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `dx = y (dy - sum(dy y))` over the last axis. Inputs dy and the softmax y.
#[derive(Debug)]
pub struct SoftmaxGradient;

impl Operation for SoftmaxGradient {
    fn name(&self) -> &'static str {
        "softmax_gradient"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shape = flat(&inputs[0].shape);
        let (dy, y) = (viewed(&inputs[0], &shape), viewed(&inputs[1], &shape));
        let product = builder.prim_mul(&dy, &y);
        let sums = builder.prim_sum(&product, 1);
        let centred = builder.prim_sub(&dy, View::from(&sums).expand(1, shape[1]));
        let dx = builder.prim_mul(&centred, &y);
        vec![viewed(&dx, &inputs[0].shape)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
