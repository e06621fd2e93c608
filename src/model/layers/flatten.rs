use super::{Inputs, Layer, LayerKind, batched, last_axis, volume};
use crate::graph::{Builder, Value};

/// `flatten`: all axes but the batch become one, row-major.
pub const KIND: LayerKind = LayerKind {
    name: "flatten",
    meaning: "all axes become one, row by row",
    shape: "any to `[elements]`",
    source: "`keras.layers.Flatten`",
    inputs: Inputs::Current,
    arguments: &[],
    build: |_, shapes, _| {
        let (shape, _) = last_axis("flatten", shapes)?;
        Ok(Box::new(Flatten(volume(&shape))))
    },
};

#[derive(Debug)]
struct Flatten(usize);

impl Layer for Flatten {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.0]
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        builder.reshape(&inputs[0], &batched(&inputs[0], &[self.0]))
    }
}
