use super::{Argument, Inputs, Kind, Layer, LayerKind, Misfit, last_axis};
use crate::graph::{Builder, Value};

/// `transpose(permutation)`: output axis `i` is input axis `permutation[i]`, counted without the batch.
pub const KIND: LayerKind = LayerKind {
    name: "transpose",
    meaning: "axes in another order: axis `i` is axis `permutation[i]` of the input",
    shape: "any to its axes reordered",
    source: "`keras.layers.Permute`, counted from 0",
    inputs: Inputs::Current,
    arguments: &[Argument::required("permutation", Kind::Indices)],
    build: |_, shapes, arguments| {
        let (shape, _) = last_axis("transpose", shapes)?;
        let permutation = arguments.sizes("permutation");
        let mut sorted = permutation.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..shape.len()) {
            let axes: Vec<String> = (0..shape.len()).map(|axis| axis.to_string()).collect();
            return Err(Misfit::new(
                format!("{permutation:?} is no order of the axes of {shape:?}"),
                format!("needs each of {} once", axes.join(", ")),
            )
            .blame("permutation"));
        }
        Ok(Box::new(Transpose { shape: permutation.iter().map(|axis| shape[*axis]).collect(), permutation }))
    },
};

#[derive(Debug)]
struct Transpose {
    shape: Vec<usize>,
    permutation: Vec<usize>,
}

impl Layer for Transpose {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        self.permutation.last() == Some(&(self.permutation.len() - 1))
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let axes: Vec<usize> = std::iter::once(0).chain(self.permutation.iter().map(|axis| axis + 1)).collect();
        builder.transpose(&inputs[0], &axes)
    }
}
