use std::any::Any;

use super::{around, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// How the entries of one axis move: `y[i] = x[i - by]` for `i < length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// Counted from 0, the batch.
    pub axis: usize,
    /// So many places further on; a negative number: back.
    pub by: isize,
    /// Of the axis in the result. A cyclic movement keeps it.
    pub length: usize,
    /// What leaves at one end enters at the other; else zeros enter.
    pub cyclic: bool,
}

/// Entries that move together: where the first is in the result and in the input, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first entry's place in the result.
    pub to: usize,
    /// The first entry's place in the input.
    pub from: usize,
    /// How many entries.
    pub length: usize,
}

impl Movement {
    /// The runs of an axis of so many entries, at most two. Zeros are where none of them is.
    pub(crate) fn runs(&self, entries: usize) -> Vec<Run> {
        if self.cyclic {
            let by = self.by.rem_euclid(entries.max(1) as isize) as usize;
            let runs = [Run { to: 0, from: entries - by, length: by }, Run { to: by, from: 0, length: entries - by }];
            return runs.into_iter().filter(|run| run.length > 0).collect();
        }
        let (to, from) = (self.by.max(0) as usize, (-self.by).max(0) as usize);
        let length = entries.saturating_sub(from).min(self.length.saturating_sub(to));
        if length == 0 { Vec::new() } else { vec![Run { to, from, length }] }
    }

    /// What undoes it where nothing left, and is its transpose anyway: the gradient's movement.
    fn back(&self, entries: usize) -> Self {
        Self { by: -self.by, length: entries, ..*self }
    }

    fn text(&self) -> String {
        let Self { axis, by, length, cyclic } = self;
        format!("axis {axis} by {by:+} to {length}{}", if *cyclic { ", cyclic" } else { "" })
    }
}

/// The tensor with the entries of some axes elsewhere: what `shift`, `roll`, `slice` and `pad` over axes are. The
/// transpose of each is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translate {
    /// At most [`Translate::AXES`], with growing axes.
    pub movements: Vec<Movement>,
}

impl Translate {
    /// Axes that one operator moves.
    pub const AXES: usize = 3;
}

/// A tensor with zeros before and after an axis.
fn padded(builder: &mut Builder, x: &Value, axis: usize, before: usize, after: usize) -> Value {
    builder.prim_contiguous(View::from(x).pad(axis, before, after))
}

/// One movement of the middle axis of `[outer, entries, inner]`.
fn moved(builder: &mut Builder, x: &Value, movement: &Movement) -> Value {
    let (entries, mut sum) = (x.shape[1], None);
    for Run { to, from, length } in movement.runs(entries) {
        let run = builder.prim_contiguous(View::from(x).slice(1, from, length));
        let placed = padded(builder, &run, 1, to, movement.length - to - length);
        sum = Some(match sum {
            Some(sum) => builder.prim_add(&sum, &placed),
            None => placed,
        });
    }
    sum.unwrap_or_else(|| panic!("{movement:?} leaves nothing of {entries} entries"))
}

impl Operation for Translate {
    fn name(&self) -> &'static str {
        "translate"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("moves", self.movements.iter().map(Movement::text).collect::<Vec<_>>().join("; "))]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert!(self.movements.len() <= Self::AXES, "{self:?}: more axes than an operator moves");
        assert!(self.movements.is_sorted_by(|a, b| a.axis < b.axis), "{self:?}: the order of axes");
        let mut shape = inputs[0].to_vec();
        for movement in &self.movements {
            let entries = shape[movement.axis];
            assert!(!movement.cyclic || movement.length == entries, "{movement:?} of {entries}");
            assert!(!movement.runs(entries).is_empty(), "{movement:?} leaves nothing of {entries} entries");
            shape[movement.axis] = movement.length;
        }
        vec![shape]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let shape = &site.inputs[0].shape;
        let movements = self.movements.iter().map(|movement| movement.back(shape[movement.axis])).collect();
        vec![Some(builder.apply_one(Self { movements }, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let mut x = inputs[0].clone();
        for movement in &self.movements {
            let mut shape = x.shape.clone();
            shape[movement.axis] = movement.length;
            let merged = viewed(&x, &around(&x.shape, movement.axis));
            x = viewed(&moved(builder, &merged, movement), &shape);
        }
        vec![x]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], _: &[Dim]) -> Option<Tensor> {
        let mut x = inputs[0].clone();
        for movement in &self.movements {
            let axis = movement.axis;
            let runs = movement.runs(x.shape[axis].fixed()?);
            let parts: Vec<Tensor> = runs.iter().map(|run| writer.slice(&x, axis, run.from, run.length)).collect();
            x = match runs[..] {
                [Run { to, length, .. }] => writer.pad(&parts[0], axis, to, movement.length - to - length),
                _ => writer.concat(&parts, axis),
            };
        }
        Some(x)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_what_moves() {
        let runs = |by, length, cyclic| {
            Movement { axis: 0, by, length, cyclic }
                .runs(5)
                .into_iter()
                .map(|Run { to, from, length }| [to, from, length])
                .collect::<Vec<_>>()
        };
        assert_eq!(runs(2, 5, false), [[2, 0, 3]]);
        assert_eq!(runs(-2, 5, false), [[0, 2, 3]]);
        assert_eq!(runs(-1, 3, false), [[0, 1, 3]]);
        assert_eq!(runs(2, 9, false), [[2, 0, 5]]);
        assert_eq!(runs(5, 5, false), <[[usize; 3]; 0]>::default());
        assert_eq!(runs(2, 5, true), [[0, 3, 2], [2, 0, 3]]);
        assert_eq!(runs(-2, 5, true), [[0, 2, 3], [3, 0, 2]]);
        assert_eq!(runs(-15, 5, true), [[0, 0, 5]]);
    }
}
