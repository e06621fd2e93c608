use std::any::Any;

use crate::{
    graph::{Builder, Gradients, Operation, Value, ops::SumLeading, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// `a + b`, where `b`'s shape is `a`'s or a suffix of it.
#[derive(Debug)]
pub struct Add;

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert!(inputs[0].ends_with(inputs[1]), "add: {:?} + {:?}", inputs[0], inputs[1]);
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let dy = &site.grads[0];
        let b = &site.inputs[1];
        let db = if b.shape == dy.shape {
            Some(dy.clone())
        } else {
            site.wanted[1].then(|| builder.apply_one(SumLeading { shape: b.shape.clone() }, &[dy]))
        };
        vec![Some(dy.clone()), db]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let b = View::from(&inputs[1]).broadcast(&inputs[0].shape);
        vec![builder.prim_add(&inputs[0], b)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        Some(writer.elementwise(inputs, shape, |writer, x, _| writer.binary("Add", &x[0], &x[1])))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
