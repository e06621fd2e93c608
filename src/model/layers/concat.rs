use super::{Argument, Arguments, Default, Inputs, Kind, Layer, LayerKind, Misfit, axes::axis_of, show};
use crate::graph::{Builder, Value};

/// `concat(a, b, .., axis = -1)`: tensors joined along an axis, which counts without the batch;
/// negative axes count from the last.
pub const KIND: LayerKind = LayerKind {
    name: "concat",
    meaning: "joins tensors along an axis, which counts without the batch",
    shape: "tensors that agree in every other axis",
    source: "`keras.layers.Concatenate`",
    inputs: Inputs::Listed,
    arguments: &[Argument::optional("axis", Kind::Int, Default::Int(-1))],
    build,
};

fn build(_: &LayerKind, shapes: &[Vec<usize>], arguments: &Arguments) -> Result<Box<dyn Layer>, Misfit> {
    let mut shape = shapes.first().cloned().unwrap_or_default();
    let axis = axis_of(&shape, arguments.int("axis"))?;
    for other in &shapes[1..] {
        let same = other.len() == shape.len()
            && other.iter().zip(&shape).enumerate().all(|(index, (a, b))| index == axis || a == b);
        if !same {
            return Err(Misfit::new(
                format!("shapes {} cannot be joined along axis {axis}", show(shapes)),
                format!("needs tensors that agree in every axis but {axis}"),
            ));
        }
        shape[axis] = shape[axis].saturating_add(other[axis]);
    }
    Ok(Box::new(Concat { axis, shape }))
}

#[derive(Debug)]
struct Concat {
    axis: usize,
    shape: Vec<usize>,
}

impl Layer for Concat {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        self.axis + 1 < self.shape.len()
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        builder.concat(&inputs.iter().collect::<Vec<_>>(), self.axis + 1)
    }
}
