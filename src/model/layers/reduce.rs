//! Means and maxima over axes.

use super::{Argument, Arguments, Default, Inputs, Kind, Layer, LayerKind, Misfit, axes::axes_of, batched, last_axis};
use crate::graph::{
    Builder, Value,
    ops::{MaxPool2d, Pool2d, around},
};

const ARGUMENTS: &[Argument] =
    &[Argument::required("axis", Kind::Axes), Argument::optional("keepdims", Kind::Bool, Default::Bool(false))];

/// `reduce_mean(axis, keepdims = false)`: the mean over axes, which disappear or stay with one entry.
pub const MEAN: LayerKind = LayerKind {
    name: "reduce_mean",
    meaning: "the mean over axes, which go, or keep one entry with `keepdims`",
    shape: "any to that without `axis`",
    source: "`keras.ops.mean`; `tf.reduce_mean`",
    inputs: Inputs::Current,
    arguments: ARGUMENTS,
    build,
};

/// `reduce_max(axis, keepdims = false)`: the largest of the entries of axes. Where several are, the first has the
/// gradient.
pub const MAX: LayerKind = LayerKind {
    name: "reduce_max",
    meaning: "the largest value over axes, which go, or keep one entry with `keepdims`",
    shape: "any to that without `axis`",
    source: "`keras.ops.max`; `tf.reduce_max`",
    inputs: Inputs::Current,
    arguments: ARGUMENTS,
    build,
};

fn build(kind: &LayerKind, shapes: &[Vec<usize>], arguments: &Arguments) -> Result<Box<dyn Layer>, Misfit> {
    let (from, _) = last_axis(kind.name, shapes)?;
    let mut axes = axes_of(&from, arguments, 1)?;
    axes.sort_unstable();
    let keepdims = arguments.flag("keepdims");
    if axes.len() == from.len() && !keepdims {
        return Err(Misfit::new(format!("`{}` leaves no axis of {from:?}", kind.name), "needs one axis that stays")
            .blame("axis")
            .help("`keepdims = true` keeps each axis with one entry"));
    }
    Ok(Box::new(Reduce { maximum: kind.name == MAX.name, from, axes, keepdims }))
}

#[derive(Debug)]
struct Reduce {
    maximum: bool,
    from: Vec<usize>,
    /// That are reduced, in order.
    axes: Vec<usize>,
    keepdims: bool,
}

impl Reduce {
    /// Reduces the third of four axes, which goes.
    fn reduce(&self, builder: &mut Builder, x: &Value, [images, outer, length, inner]: [usize; 4]) -> Value {
        if !self.maximum {
            let x = builder.reshape(x, &[images, outer, length, inner]);
            return builder.mean(&x, 2);
        }
        // Windows over the rows of an image of one column, one behind the other.
        let x = builder.reshape(x, &[images, outer * length, 1, inner]);
        builder.apply_one(MaxPool2d(Pool2d { pool: [length, 1], strides: [length, 1], same: false }), &[&x])
    }
}

impl Layer for Reduce {
    fn output_shape(&self) -> Vec<usize> {
        let reduced = |axis: &usize| self.axes.contains(axis);
        let lengths = self.from.iter().enumerate();
        match self.keepdims {
            true => lengths.map(|(axis, length)| if reduced(&axis) { 1 } else { *length }).collect(),
            false => lengths.filter(|(axis, _)| !reduced(axis)).map(|(_, length)| *length).collect(),
        }
    }

    fn keeps_last_axis(&self) -> bool {
        !self.maximum && !self.axes.contains(&(self.from.len() - 1))
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        // The last axes first; those that are neighbours are one.
        let (mut x, mut shape, mut axes) = (inputs[0].clone(), self.from.clone(), self.axes.clone());
        while let Some(last) = axes.pop() {
            let mut first = last;
            while axes.last().is_some_and(|axis| axis + 1 == first) {
                first = axes.pop().unwrap_or(first);
            }
            shape.splice(first..=last, [self.from[first..=last].iter().product()]);
            let [outer, length, inner] = around(&shape, first);
            shape.remove(first);
            if length > 1 {
                x = self.reduce(builder, &x, [inputs[0].shape[0], outer, length, inner]);
            }
        }
        builder.reshape(&x, &batched(&inputs[0], &self.output_shape()))
    }
}
