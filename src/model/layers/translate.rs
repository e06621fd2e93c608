//! Entries of some axes at other places: `shift`, `roll`.

use super::{
    Argument, Arguments, Inputs, Kind, Layer, LayerKind, Misfit,
    axes::{AXES, axes_of, each},
    last_axis,
};
use crate::graph::{
    Builder, Value,
    ops::{Movement, Translate},
};

/// `shift(shift, axis = first)`: entry `i` goes to `i + shift`, zeros enter.
pub const SHIFT: LayerKind = LayerKind {
    name: "shift",
    meaning: "entries move along axes, by one number each; zeros enter behind them",
    shape: "any to itself",
    source: "`scipy.ndimage.shift` by whole places",
    inputs: Inputs::Current,
    arguments: &[Argument::required("shift", Kind::Ints), AXES],
    build,
};

/// `roll(shift, axis = first)`: entry `i` goes to `i + shift`, what leaves at an end enters at the other.
pub const ROLL: LayerKind = LayerKind {
    name: "roll",
    meaning: "entries move along axes, by one number each; what leaves at an end enters at the other",
    shape: "any to itself",
    source: "`keras.ops.roll`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("shift", Kind::Ints), AXES],
    build,
};

/// What a layer is for an input of this shape, and its movements. Axes count without the batch.
#[derive(Debug)]
struct Translated {
    shape: Vec<usize>,
    /// In the order of axes; those that move nothing are left out.
    movements: Vec<Movement>,
    keeps_last_axis: bool,
}

impl Translated {
    fn new(from: &[usize], movements: impl IntoIterator<Item = Movement>) -> Self {
        let idle = |movement: &Movement| {
            let entries = from[movement.axis];
            let by = if movement.cyclic { movement.by % entries.max(1) as isize } else { movement.by };
            by == 0 && movement.length == entries
        };
        let mut movements: Vec<Movement> = movements.into_iter().filter(|movement| !idle(movement)).collect();
        movements.sort_by_key(|movement| movement.axis);
        let mut shape = from.to_vec();
        for movement in &movements {
            shape[movement.axis] = movement.length;
        }
        let keeps_last_axis = movements.last().is_none_or(|last| last.axis + 1 < shape.len());
        Self { shape, movements, keeps_last_axis }
    }
}

impl Layer for Translated {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        self.keeps_last_axis
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        self.movements.chunks(Translate::AXES).fold(inputs[0].clone(), |x, movements| {
            let movements =
                movements.iter().map(|movement| Movement { axis: movement.axis + 1, ..*movement }).collect();
            builder.apply_one(Translate { movements }, &[&x])
        })
    }
}

fn build(kind: &LayerKind, shapes: &[Vec<usize>], arguments: &Arguments) -> Result<Box<dyn Layer>, Misfit> {
    let (shape, _) = last_axis(kind.name, shapes)?;
    let axes = axes_of(&shape, arguments, arguments.ints("shift").len())?;
    let shifts = each(arguments, "shift", axes.len())?;
    let cyclic = kind.name == ROLL.name;
    let mut movements = Vec::new();
    for (axis, shift) in axes.into_iter().zip(shifts) {
        let entries = shape[axis];
        if !cyclic && shift.unsigned_abs() >= entries as u64 {
            return Err(Misfit::new(
                format!("a shift by {shift} leaves nothing of the {entries} entries of axis {axis} of {shape:?}"),
                format!("needs less than {entries} either way"),
            )
            .blame("shift"));
        }
        movements.push(Movement { axis, by: shift as isize, length: entries, cyclic });
    }
    Ok(Box::new(Translated::new(&shape, movements)))
}
