use super::{Argument, Inputs, Kind, Layer, LayerKind, Misfit, batched, last_axis, volume};
use crate::graph::{Builder, Value};

/// `reshape(shape)`: the same elements in the same order under another shape (without the batch), in which one `-1`
/// stands for what remains.
pub const KIND: LayerKind = LayerKind {
    name: "reshape",
    meaning: "the same elements in the same order under another shape; one -1 in it stands for what remains",
    shape: "any to `shape`",
    source: "`keras.layers.Reshape`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("shape", Kind::Shape)],
    build: |_, shapes, arguments| {
        let (from, _) = last_axis("reshape", shapes)?;
        let asked = arguments.ints("shape");
        if asked.len() > 5 {
            return Err(Misfit::new(format!("{asked:?} has more than 5 axes"), "at most 5 axes").blame("shape"));
        }
        let known: Vec<usize> = asked.iter().filter_map(|length| usize::try_from(*length).ok()).collect();
        let (all, known) = (volume(&from), volume(&known));
        if asked.contains(&-1) && all % known != 0 {
            let message =
                format!("{from:?} holds {all} elements, no multiple of the {known} that {asked:?} has without -1");
            return Err(Misfit::new(message, format!("asks for {asked:?}")).blame("shape"));
        }
        // A negative one is -1: it is all that remains.
        let to: Vec<usize> = asked.iter().map(|length| usize::try_from(*length).unwrap_or(all / known)).collect();
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
