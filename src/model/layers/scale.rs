use super::{Argument, Inputs, Kind, Layer, LayerKind, last_axis};
use crate::graph::{Builder, Value};

/// `scale(factor)`: the tensor times a number.
pub const KIND: LayerKind = LayerKind {
    name: "scale",
    meaning: "the tensor times a number",
    shape: "any to itself",
    source: "`keras.layers.Rescaling`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("factor", Kind::Number)],
    build: |_, shapes, arguments| {
        let (shape, _) = last_axis("scale", shapes)?;
        Ok(Box::new(Scale { shape, factor: arguments.number("factor") }))
    },
};

#[derive(Debug)]
struct Scale {
    shape: Vec<usize>,
    factor: f32,
}

impl Layer for Scale {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        builder.scale(&inputs[0], self.factor)
    }
}
