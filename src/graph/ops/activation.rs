use std::any::Any;

use crate::graph::{Builder, Gradients, Operation, Value};

/// Elementwise activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x Phi(x)` with the exact normal distribution (erf), Keras' default `gelu`.
    Gelu,
    Relu,
    /// `x sigmoid(x)`.
    Silu,
    Tanh,
}

impl Activation {
    /// Name in the DSL and in graph text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::Tanh => "tanh",
        }
    }
}

/// 1 where `x < 0`, else 0.
fn negative(builder: &mut Builder, x: &Value) -> Value {
    let zero = builder.constant(0.0, &x.shape);
    builder.prim_less_than(x, zero)
}

/// `1 / (1 + exp(-x))`.
fn sigmoid(builder: &mut Builder, x: &Value) -> Value {
    let minus = builder.prim_affine(x, -1.0, 0.0);
    let exp = builder.prim_exp(&minus);
    let denominator = builder.prim_affine(&exp, 1.0, 1.0);
    builder.prim_recip(&denominator)
}

/// `tanh(x) = 2 sigmoid(2x) - 1`.
fn tanh(builder: &mut Builder, x: &Value) -> Value {
    let double = builder.prim_affine(x, 2.0, 0.0);
    let sigmoid = sigmoid(builder, &double);
    builder.prim_affine(&sigmoid, 2.0, -1.0)
}

/// The normal distribution function, from erf by Abramowitz & Stegun 7.1.26 (absolute error below
/// 1.5e-7), which needs no more than luminal's primitives.
fn phi(builder: &mut Builder, x: &Value) -> Value {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [0.254_829_6, -0.284_496_72, 1.421_413_8, -1.453_152_1, 1.061_405_4];
    let negative = negative(builder, x);
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

impl Operation for Activation {
    fn name(&self) -> &'static str {
        Activation::name(*self)
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.apply_one(ActivationGradient(*self), &[&site.grads[0], &site.inputs[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let x = &inputs[0];
        vec![match self {
            Self::Gelu => {
                let phi = phi(builder, x);
                builder.prim_mul(x, &phi)
            }
            Self::Relu => {
                let negative = negative(builder, x);
                let keep = builder.prim_affine(&negative, -1.0, 1.0);
                builder.prim_mul(x, &keep)
            }
            Self::Silu => {
                let sigmoid = sigmoid(builder, x);
                builder.prim_mul(x, &sigmoid)
            }
            Self::Tanh => tanh(builder, x),
        }]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `dx = dy f'(x)`. Inputs dy and the activation's input x.
#[derive(Debug)]
pub struct ActivationGradient(pub Activation);

impl Operation for ActivationGradient {
    fn name(&self) -> &'static str {
        match self.0 {
            Activation::Gelu => "gelu_gradient",
            Activation::Relu => "relu_gradient",
            Activation::Silu => "silu_gradient",
            Activation::Tanh => "tanh_gradient",
        }
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (dy, x) = (&inputs[0], &inputs[1]);
        let derivative = match self.0 {
            // Phi(x) + x phi(x), phi the normal density.
            Activation::Gelu => {
                let phi = phi(builder, x);
                let square = builder.prim_mul(x, x);
                let half = builder.prim_affine(&square, -0.5, 0.0);
                let exp = builder.prim_exp(&half);
                let density = builder.prim_affine(&exp, 0.398_942_3, 0.0);
                let product = builder.prim_mul(x, &density);
                builder.prim_add(&phi, &product)
            }
            // Zero at zero, as Keras and PyTorch have it.
            Activation::Relu => {
                let zero = builder.constant(0.0, &x.shape);
                builder.prim_less_than(zero, x)
            }
            // s + x s (1 - s).
            Activation::Silu => {
                let sigmoid = sigmoid(builder, x);
                let rest = builder.prim_affine(&sigmoid, -1.0, 1.0);
                let product = builder.prim_mul(x, &rest);
                let factor = builder.prim_affine(&product, 1.0, 1.0);
                builder.prim_mul(&sigmoid, &factor)
            }
            Activation::Tanh => {
                let tanh = tanh(builder, x);
                let square = builder.prim_mul(&tanh, &tanh);
                builder.prim_affine(&square, -1.0, 1.0)
            }
        };
        vec![builder.prim_mul(dy, &derivative)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
