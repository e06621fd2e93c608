use super::{Argument, Inputs, Kind, Layer, LayerKind, last_axis};
use crate::graph::{Builder, Value};

/// `dropout(rate)`: active in training only, as `keras.layers.Dropout`.
pub const KIND: LayerKind = LayerKind {
    name: "dropout",
    meaning: "sets a share of the elements to zero, in training only",
    shape: "any to itself",
    source: "`keras.layers.Dropout`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("rate", Kind::Rate)],
    build: |_, shapes, arguments| {
        let (shape, _) = last_axis("dropout", shapes)?;
        Ok(Box::new(Dropout { shape, rate: arguments.number("rate") }))
    },
};

#[derive(Debug)]
struct Dropout {
    shape: Vec<usize>,
    rate: f32,
}

impl Layer for Dropout {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        builder.dropout(&inputs[0], self.rate)
    }
}
