//! Entries of some axes at other places: `shift`, `roll`, `slice`, `pad`.

use super::{
    Argument, Arguments, Default, Inputs, Kind, Layer, LayerKind, Misfit,
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

/// `slice(start, size = -1, axis = first)`: `size` entries of an axis from `start` on. A negative `start` counts from the
/// end, a `size` of -1 is all that follow.
pub const SLICE: LayerKind = LayerKind {
    name: "slice",
    meaning: "`size` entries of axes from `start` on, by one number each; -1 for all that follow",
    shape: "any to as many entries",
    source: "`keras.ops.slice`; `tf.slice`",
    inputs: Inputs::Current,
    arguments: &[
        Argument::required("start", Kind::Ints),
        Argument::optional("size", Kind::Ints, Default::Int(-1)),
        AXES,
    ],
    build: |_, shapes, arguments| {
        let (shape, _) = last_axis(SLICE.name, shapes)?;
        let count = arguments.ints("start").len().max(arguments.ints("size").len());
        let axes = axes_of(&shape, arguments, count)?;
        let (starts, sizes) = (each(arguments, "start", axes.len())?, each(arguments, "size", axes.len())?);
        let mut movements = Vec::new();
        for (axis, (start, size)) in axes.into_iter().zip(starts.into_iter().zip(sizes)) {
            let entries = shape[axis] as i64;
            let from = if start < 0 { entries + start } else { start };
            if from < 0 || from >= entries {
                let message = format!("there is no entry {start} among the {entries} of axis {axis} of {shape:?}");
                return Err(Misfit::new(message, "no such entry").blame("start"));
            }
            let left = entries - from;
            if size != -1 && !(1..=left).contains(&size) {
                let message = format!("axis {axis} of {shape:?} has {left} entries from {start} on, not {size}");
                return Err(Misfit::new(message, format!("needs a number from 1 to {left}, or -1")).blame("size"));
            }
            let length = if size == -1 { left } else { size } as usize;
            movements.push(Movement { axis, by: -from as isize, length, cyclic: false });
        }
        Ok(Box::new(Translated::new(&shape, movements)))
    },
};

/// `pad(before, after = before, axis = first)`: so many zeros before and after the entries of an axis.
pub const PAD: LayerKind = LayerKind {
    name: "pad",
    meaning: "zeros before and after the entries of axes, by one number each",
    shape: "any to `before` and `after` more entries",
    source: "`keras.ops.pad`",
    inputs: Inputs::Current,
    arguments: &[
        Argument::required("before", Kind::Indices),
        Argument::optional("after", Kind::Indices, Default::Same("before")),
        AXES,
    ],
    build: |_, shapes, arguments| {
        let (shape, _) = last_axis(PAD.name, shapes)?;
        let count = arguments.ints("before").len().max(arguments.ints("after").len());
        let axes = axes_of(&shape, arguments, count)?;
        let (before, after) = (each(arguments, "before", axes.len())?, each(arguments, "after", axes.len())?);
        let movements = axes.into_iter().zip(before.into_iter().zip(after)).map(|(axis, (before, after))| Movement {
            axis,
            by: before as isize,
            length: shape[axis].saturating_add((before + after) as usize),
            cyclic: false,
        });
        Ok(Box::new(Translated::new(&shape, movements)))
    },
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
