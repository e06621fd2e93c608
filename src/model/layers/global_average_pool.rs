use super::{Inputs, Layer, LayerKind, Misfit, batched, show, volume};
use crate::graph::{Builder, Value};

/// `global_average_pool`: the mean over all axes but the last, e.g. `[tokens, dim]` to `[dim]`.
pub const KIND: LayerKind = LayerKind {
    name: "global_average_pool",
    meaning: "the mean over all axes but the last",
    shape: "`[tokens, dim]` to `[dim]`",
    source: "`keras.layers.GlobalAveragePooling1D`",
    inputs: Inputs::Current,
    arguments: &[],
    build: |_, shapes, _| match shapes {
        [shape] if shape.len() >= 2 => {
            let last = shape.len() - 1;
            Ok(Box::new(GlobalAveragePool { places: volume(&shape[..last]), dim: shape[last] }))
        }
        _ => Err(Misfit::new(
            format!("`global_average_pool` has no axis to average over in shape {}", show(shapes)),
            "needs [.., dim] with two axes at least",
        )),
    },
};

#[derive(Debug)]
struct GlobalAveragePool {
    places: usize,
    dim: usize,
}

impl Layer for GlobalAveragePool {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.dim]
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let x = builder.reshape(&inputs[0], &batched(&inputs[0], &[self.places, self.dim]));
        builder.mean(&x, 1)
    }
}
