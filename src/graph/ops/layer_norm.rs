use std::any::Any;

use super::flat;
use crate::{
    graph::{Builder, Gradients, Operation, Value, ops::viewed, primitives::View},
    onnx::{Attribute, Dim, Tensor, Writer},
};

/// Layer normalisation over the last axis (Ba et al. 2016; Keras `LayerNormalization`):
/// `y = (x - mean) * rstd * gamma + beta`, `rstd = 1 / sqrt(variance + epsilon)`.
/// Inputs x `[.., dim]`, gamma and beta `[dim]`; outputs y `[.., dim]`, mean and rstd `[rows]`.
#[derive(Debug)]
pub struct LayerNorm {
    /// Added to the variance, against division by zero.
    pub epsilon: f32,
}

impl LayerNorm {
    /// `(x - mean)` and `rstd` as `[rows, dim]` and `[rows]`, and the mean.
    fn normalise(&self, builder: &mut Builder, x: &Value) -> (Value, Value, Value) {
        let [rows, dim] = flat(&x.shape);
        let x = viewed(x, &[rows, dim]);
        let sum = builder.prim_sum(&x, 1);
        let mean = builder.prim_affine(&sum, 1.0 / dim as f32, 0.0);
        let centred = builder.prim_sub(&x, View::from(&mean).expand(1, dim));
        let squares = builder.prim_mul(&centred, &centred);
        let sum = builder.prim_sum(&squares, 1);
        let variance = builder.prim_affine(&sum, 1.0 / dim as f32, self.epsilon);
        let deviation = builder.prim_sqrt(&variance);
        (centred, builder.prim_recip(&deviation), mean)
    }
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("epsilon", format!("{:e}", self.epsilon))]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let [rows, dim] = flat(inputs[0]);
        assert_eq!((inputs[1], inputs[2]), (&[dim][..], &[dim][..]), "layer_norm");
        vec![inputs[0].to_vec(), vec![rows], vec![rows]]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let (x, gamma, dy) = (&site.inputs[0], &site.inputs[1], &site.grads[0]);
        let (mean, rstd) = (&site.outputs[1], &site.outputs[2]);
        builder.apply(LayerNormGradient, &[dy, x, gamma, mean, rstd]).into_iter().map(Some).collect()
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (centred, rstd, mean) = self.normalise(builder, &inputs[0]);
        let normal = builder.prim_mul(&centred, View::from(&rstd).expand(1, centred.shape[1]));
        let scaled = builder.prim_mul(&normal, View::from(&inputs[1]).broadcast(&centred.shape));
        let y = builder.prim_add(&scaled, View::from(&inputs[2]).broadcast(&centred.shape));
        vec![viewed(&y, &inputs[0].shape), mean, rstd]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let attributes = vec![Attribute::int("axis", -1), Attribute::float("epsilon", self.epsilon)];
        Some(writer.node("LayerNormalization", &inputs.iter().collect::<Vec<_>>(), attributes, shape))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Gradients of [`LayerNorm`]. Inputs dy, x `[.., dim]`, gamma `[dim]`, mean, rstd `[rows]`;
/// outputs dx `[.., dim]`, dgamma, dbeta `[dim]`. With `n = (x - mean) rstd` and `g = dy gamma`:
/// `dx = rstd (g - mean(g) - n mean(g n))`.
#[derive(Debug)]
pub struct LayerNormGradient;

impl Operation for LayerNormGradient {
    fn name(&self) -> &'static str {
        "layer_norm_gradient"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[1].to_vec(), inputs[2].to_vec(), inputs[2].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, inputs: &Gradients) -> Vec<Option<Value>> {
        vec![None; inputs.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let [rows, dim] = flat(&inputs[1].shape);
        let (dy, x) = (viewed(&inputs[0], &[rows, dim]), viewed(&inputs[1], &[rows, dim]));
        let along = |value: &Value| View::from(value).expand(1, dim);
        let centred = builder.prim_sub(&x, along(&inputs[3]));
        let normal = builder.prim_mul(&centred, along(&inputs[4]));
        let dy_normal = builder.prim_mul(&dy, &normal);
        let dgamma = builder.prim_sum(&dy_normal, 0);
        let dbeta = builder.prim_sum(&dy, 0);

        let g = builder.prim_mul(&dy, View::from(&inputs[2]).broadcast(&dy.shape));
        let g_sum = builder.prim_sum(&g, 1);
        let g_mean = builder.prim_affine(&g_sum, -1.0 / dim as f32, 0.0);
        let gn = builder.prim_mul(&g, &normal);
        let gn_sum = builder.prim_sum(&gn, 1);
        let gn_mean = builder.prim_affine(&gn_sum, -1.0 / dim as f32, 0.0);
        let correction = builder.prim_mul(&normal, along(&gn_mean));
        let shifted = builder.prim_add(&g, along(&g_mean));
        let sum = builder.prim_add(&shifted, &correction);
        let dx = builder.prim_mul(&sum, along(&inputs[4]));
        vec![viewed(&dx, &inputs[1].shape), dgamma, dbeta]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
