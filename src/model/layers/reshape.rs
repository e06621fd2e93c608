use super::{Argument, Inputs, Kind, Layer, LayerKind, Misfit, batched, last_axis, volume};
use crate::graph::{Builder, Value};

/// `reshape(shape)`: the same elements in the same order under another shape (without the batch).
pub const KIND: LayerKind = LayerKind {
    name: "reshape",
    meaning: "the same elements in the same order under another shape",
    shape: "any to `shape`",
    source: "`keras.layers.Reshape`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("shape", Kind::Sizes)],
    build: |_, shapes, arguments| {
        let (from, _) = last_axis("reshape", shapes)?;
        let to = arguments.sizes("shape");
        if to.len() > 5 {
            return Err(Misfit::new(format!("{to:?} has more than 5 axes"), "at most 5 axes").blame("shape"));
        }
        if volume(&from) != volume(&to) {
            let message = format!(
                "{from:?} holds {} elements and {to:?} holds {}: one cannot become the other",
                volume(&from),
                volume(&to)
            );
            return Err(Misfit::new(message, format!("asks for {to:?}")).blame("shape"));
        }
        Ok(Box::new(Reshape(to)))
    },
};

#[derive(Debug)]
struct Reshape(Vec<usize>);

impl Layer for Reshape {
    fn output_shape(&self) -> Vec<usize> {
        self.0.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        builder.reshape(&inputs[0], &batched(&inputs[0], &self.0))
    }
}
