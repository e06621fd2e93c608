//! Expressions in luminal's primitives: what they mean.

use super::{Expression, Formulas, Step};
use crate::graph::{Builder, Value, primitives::View};

/// Adds the primitives that compute an expression of tensors, which all have the shape of the result
/// or are seen as if they had.
pub fn decompose(builder: &mut Builder, expression: &Expression, inputs: &[View], shape: &[usize]) -> Value {
    let mut values = steps(builder, expression.steps(), inputs, shape);
    values.swap_remove(values.len() - 1)
}

/// As [`decompose`], of several functions.
pub fn decompose_all(builder: &mut Builder, formulas: &Formulas, inputs: &[View], shape: &[usize]) -> Vec<Value> {
    let values = steps(builder, formulas.steps(), inputs, shape);
    formulas.results().iter().map(|&result| values[result].clone()).collect()
}

/// The value of each step.
fn steps(builder: &mut Builder, steps: &[Step], inputs: &[View], shape: &[usize]) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::with_capacity(steps.len());
    for step in steps {
        let value = match *step {
            // Unary primitives ignore views, so that an input is laid out first.
            Step::Input(number) => builder.prim_contiguous(inputs[number].clone()),
            Step::Constant(value) => {
                let constant = builder.constant(value, shape);
                builder.prim_contiguous(constant)
            }
            Step::Add(a, b) => builder.prim_add(&values[a], &values[b]),
            Step::Multiply(a, b) => builder.prim_mul(&values[a], &values[b]),
            Step::Reciprocal(a) => builder.prim_recip(&values[a]),
            Step::Sqrt(a) => builder.prim_sqrt(&values[a]),
            Step::Exp(a) => builder.prim_exp(&values[a]),
            Step::Log1p(a) => {
                let one_more = builder.prim_affine(&values[a], 1.0, 1.0);
                builder.prim_ln(&one_more)
            }
            Step::Tanh(a) => tanh(builder, &values[a]),
            Step::NormalCdf(a) => normal_cdf(builder, &values[a]),
            Step::Less(a, b) => builder.prim_less_than(&values[a], &values[b]),
            Step::Max(a, b) => {
                let second = builder.prim_less_than(&values[a], &values[b]);
                choose(builder, &second, &values[b], &values[a])
            }
            Step::Min(a, b) => {
                let second = builder.prim_less_than(&values[b], &values[a]);
                choose(builder, &second, &values[b], &values[a])
            }
        };
        values.push(value);
    }
    values
}

/// `a` where `condition` is 1, `b` where it is 0.
fn choose(builder: &mut Builder, condition: &Value, a: &Value, b: &Value) -> Value {
    let a = builder.prim_mul(a, condition);
    let other = builder.prim_affine(condition, -1.0, 1.0);
    let b = builder.prim_mul(b, &other);
    builder.prim_add(&a, &b)
}

/// `tanh(x) = 2 sigmoid(2x) - 1`.
fn tanh(builder: &mut Builder, x: &Value) -> Value {
    let minus = builder.prim_affine(x, -2.0, 0.0);
    let exp = builder.prim_exp(&minus);
    let denominator = builder.prim_affine(&exp, 1.0, 1.0);
    let sigmoid = builder.prim_recip(&denominator);
    builder.prim_affine(&sigmoid, 2.0, -1.0)
}

/// The normal distribution function, from erf by Abramowitz & Stegun 7.1.26 (absolute error below
/// 1.5e-7), which needs no more than luminal's primitives.
fn normal_cdf(builder: &mut Builder, x: &Value) -> Value {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [0.254_829_6, -0.284_496_72, 1.421_413_8, -1.453_152_1, 1.061_405_4];
    let zero = builder.constant(0.0, &x.shape);
    let negative = builder.prim_less_than(x, zero);
    let sign = builder.prim_affine(&negative, -2.0, 1.0);
    let z = builder.prim_affine(x, std::f32::consts::FRAC_1_SQRT_2, 0.0);
    let magnitude = builder.prim_mul(&z, &sign);
    let denominator = builder.prim_affine(&magnitude, P, 1.0);
    let t = builder.prim_recip(&denominator);
    let mut polynomial = builder.prim_affine(&t, A[4], A[3]);
    for coefficient in A[..3].iter().rev() {
        let product = builder.prim_mul(&polynomial, &t);
        polynomial = builder.prim_affine(&product, 1.0, *coefficient);
    }
    let polynomial = builder.prim_mul(&polynomial, &t);
    let square = builder.prim_mul(&z, &z);
    let minus = builder.prim_affine(&square, -1.0, 0.0);
    let exp = builder.prim_exp(&minus);
    let tail = builder.prim_mul(&polynomial, &exp);
    let erf = builder.prim_affine(&tail, -1.0, 1.0);
    let erf = builder.prim_mul(&erf, &sign);
    builder.prim_affine(&erf, 0.5, 0.5)
}
