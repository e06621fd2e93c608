use std::any::Any;

use super::{Update, flat, viewed};
use crate::graph::{
    Builder, Gradients, Operation, Value, expression::decompose_all, optimizers::Optimizer, primitives::View,
};

/// The direction of a step of a matrix by a rule that has one: what the rule's formula gives, with singular values near 1,
/// times `sqrt(max(1, fan_out / fan_in))`. Of `[fan_in, fan_out]`; all axes but the last are one.
///
/// By Newton-Schulz with the coefficients of Jordan et al. 2024 (`KellerJordan/Muon`), which take singular values to between
/// 0.7 and 1.2 in five steps, `a = 3.4445, b = -4.7750, c = 2.0315`:
///
/// ```text
/// X = D / (|D| + 1e-7),     |D| the Frobenius norm
/// X = (a I + b A + c A A) X,     A = X X'        of a matrix that is at least as wide as tall, and
/// X = X (a I + b A + c A A),     A = X' X        of another
/// ```
///
/// Inputs are those of [`Update`] but for the direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// Its rule says of what the direction is taken.
    pub optimizer: Optimizer,
    /// The first of the step's numbers that it reads.
    pub first_scalar: usize,
}

impl Direction {
    /// `a`, `b` and `c`.
    pub const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
    /// Is added to the norm.
    pub const EPSILON: f32 = 1e-7;

    /// As the update that takes it, for the numbering of its inputs.
    pub fn update(&self) -> Update {
        Update { optimizer: self.optimizer.clone(), first_scalar: self.first_scalar }
    }

    /// Steps of Newton-Schulz.
    pub fn steps(&self) -> usize {
        self.optimizer.option("ns_steps") as usize
    }

    /// What the orthogonal matrix is multiplied by.
    pub fn scale([fan_in, fan_out]: [usize; 2]) -> f32 {
        (fan_out as f32 / fan_in as f32).max(1.0).sqrt()
    }
}

impl Operation for Direction {
    fn name(&self) -> &'static str {
        "orthogonal_direction"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("ns_steps", self.steps().to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        let [rows, columns] = flat(inputs[0]);
        let (small, large) = (rows.min(columns), rows.max(columns));
        let products = [[small, small, large], [small, small, small], [small, small, large]];
        self.steps() as u64 * products.into_iter().map(super::flops).fold(0, u64::saturating_add)
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shape = &inputs[0].shape;
        let [rows, columns] = flat(shape);
        let Some(formulas) = self.optimizer.direction() else { return vec![inputs[1].clone()] };
        let views = self.update().views(builder, inputs, shape);
        let direction = decompose_all(builder, &formulas, &views, shape).swap_remove(0);
        let flat = viewed(&direction, &[rows * columns]);
        let squares = builder.prim_mul(&flat, &flat);
        let norm = builder.prim_sum(&squares, 0);
        let norm = builder.prim_sqrt(&Value { shape: vec![1], ..norm });
        let norm = builder.prim_affine(&norm, 1.0, Self::EPSILON);
        let share = builder.prim_recip(&norm);
        let share = View::from(&Value { shape: vec![], ..share }).broadcast(&[rows, columns]);
        let mut x = builder.prim_mul(&viewed(&direction, &[rows, columns]), share);
        let wide = rows <= columns;
        let [a, b, c] = Self::COEFFICIENTS;
        for _ in 0..self.steps() {
            let transposed = View::from(&x).permute(&[1, 0]);
            let square = match wide {
                true => builder.prim_matmul(&x, transposed),
                false => builder.prim_matmul(transposed, &x),
            };
            let fourth = builder.prim_matmul(&square, &square);
            let (square, fourth) = (builder.prim_affine(&square, b, 0.0), builder.prim_affine(&fourth, c, 0.0));
            let factor = builder.prim_add(&square, &fourth);
            let change = match wide {
                true => builder.prim_matmul(&factor, &x),
                false => builder.prim_matmul(&x, &factor),
            };
            let scaled = builder.prim_affine(&x, a, 0.0);
            x = builder.prim_add(&scaled, &change);
        }
        let x = builder.prim_affine(&x, Self::scale([rows, columns]), 0.0);
        vec![viewed(&x, shape)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
