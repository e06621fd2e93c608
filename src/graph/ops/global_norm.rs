use std::any::Any;

use super::viewed;
use crate::graph::{
    Builder, Gradients, Operation, Value,
    expression::{Formulas, decompose_all},
    primitives::View,
};

/// Most inputs of a [`Total`] and of a [`ClipFactor`]: a call on these takes its operands on the stack.
const MOST: usize = 8;

/// The sum over all elements of up to eight tensors of any shapes, or of their squares: `[1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Whether elements are squared before they are added.
    pub squares: bool,
}

impl Operation for Total {
    fn name(&self) -> &'static str {
        if self.squares { "sum_of_squares" } else { "total" }
    }

    fn output_shapes(&self, _: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![vec![1]]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let mut total: Option<Value> = None;
        for input in inputs {
            let input = viewed(input, &[input.len()]);
            let terms = if self.squares { builder.prim_mul(&input, &input) } else { input };
            let sum = Value { shape: vec![1], ..builder.prim_sum(&terms, 0) };
            total = Some(total.map_or(sum.clone(), |total| builder.prim_add(&total, &sum)));
        }
        total.into_iter().collect()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What gradients are multiplied by so that their norm, all of them taken as one vector, is at most `clip_norm`, as with
/// `global_clipnorm` of Keras' optimizers: `clip_norm / max(norm, clip_norm)`, `[1]`. Inputs are up to eight `[1]` whose
/// sum is the square of the norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClipFactor {
    /// The largest norm; more than 0.
    pub clip_norm: f32,
}

impl ClipFactor {
    /// The factor for the square of a norm; 1 for a norm that is small enough.
    pub fn of(self, square: f32) -> f32 {
        self.clip_norm / square.sqrt().max(self.clip_norm)
    }

    /// Appends it to a graph of these gradients.
    pub fn of_gradients(self, builder: &mut Builder, gradients: &[Value]) -> Value {
        let mut sums = gradients.to_vec();
        let mut squares = true;
        while squares || sums.len() > MOST {
            let total = |values: &[Value]| builder.apply_one(Total { squares }, &values.iter().collect::<Vec<_>>());
            sums = sums.chunks(MOST).map(total).collect();
            squares = false;
        }
        builder.apply_one(self, &sums.iter().collect::<Vec<_>>())
    }
}

impl Operation for ClipFactor {
    fn name(&self) -> &'static str {
        "clip_factor"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("clip_norm", self.clip_norm.to_string())]
    }

    fn output_shapes(&self, _: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![vec![1]]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let formulas = Formulas::new(inputs.len(), |squares| {
            let square = squares[1..].iter().fold(squares[0].clone(), |sum, square| sum + square);
            let clip = square.constant(self.clip_norm);
            vec![square.sqrt().max(&clip).reciprocal() * self.clip_norm]
        });
        let views: Vec<View> = inputs.iter().map(View::from).collect();
        decompose_all(builder, &formulas, &views, &[1])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
