use super::{Argument, Inputs, Kind, Layer, LayerKind, Misfit, batched, show};
use crate::graph::{Builder, Value};

/// `take(index)`: one entry of the first axis, e.g. a token, where -1 is the last: `[tokens, dim]` to `[dim]`.
pub const KIND: LayerKind = LayerKind {
    name: "take",
    meaning: "one entry of the first axis, counted from 0: a token; -1 is the last",
    shape: "`[tokens, dim]` to `[dim]`",
    source: "`x[:, index]`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("index", Kind::Int)],
    build: |_, shapes, arguments| {
        let index = arguments.int("index");
        match shapes {
            [shape] if shape.len() >= 2 => {
                let from = if index < 0 { shape[0] as i64 + index } else { index };
                match usize::try_from(from).ok().filter(|entry| *entry < shape[0]) {
                    Some(entry) => Ok(Box::new(Take { index: entry, shape: shape[1..].to_vec() })),
                    None => Err(Misfit::new(
                        format!("there is no entry {index} among {}", shape[0]),
                        format!("takes entry {index}, counted from {}", if index < 0 { "the end" } else { "0" }),
                    )
                    .blame("index")),
                }
            }
            _ => Err(Misfit::new(
                format!("`take` takes one of several tokens, not of a tensor of shape {}", show(shapes)),
                "needs [tokens, dim]",
            )),
        }
    },
};

#[derive(Debug)]
struct Take {
    index: usize,
    shape: Vec<usize>,
}

impl Layer for Take {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let entry = builder.slice(&inputs[0], 1, self.index, 1);
        builder.reshape(&entry, &batched(&inputs[0], &self.shape))
    }
}
