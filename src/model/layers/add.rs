use super::{Inputs, Layer, LayerKind, Misfit, show};
use crate::graph::{Builder, Value};

/// `add(a, b, ..)`: the sum of tensors of one shape.
pub const KIND: LayerKind = LayerKind {
    name: "add",
    meaning: "the sum of two or more tensors",
    shape: "tensors of one shape to that shape",
    source: "`keras.layers.Add`",
    inputs: Inputs::Listed,
    arguments: &[],
    build: |shapes, _| match shapes {
        [first, rest @ ..] if rest.iter().all(|shape| shape == first) => Ok(Box::new(Add(first.clone()))),
        _ => Err(Misfit::new(format!("shapes {} cannot be added", show(shapes)), "needs tensors of one shape")),
    },
};

#[derive(Debug)]
struct Add(Vec<usize>);

impl Layer for Add {
    fn output_shape(&self) -> Vec<usize> {
        self.0.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        inputs[1..].iter().fold(inputs[0].clone(), |sum, input| builder.add(&sum, input))
    }
}
