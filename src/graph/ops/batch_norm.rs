use std::any::Any;

use super::{flat, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Attribute, Dim, Tensor, Writer},
};

/// Sums over a batch of which its statistics are made: of x `[.., channels]` and a shift `[channels]` the sums of
/// `x - shift` and of its square over all axes but the last, `[2, channels]`.
///
/// The variance of large numbers that differ little would cancel without the shift. It is a guess of the mean: the
/// moving mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMoments;

impl Operation for BatchMoments {
    fn name(&self) -> &'static str {
        "batch_moments"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let [_, channels] = flat(inputs[0]);
        assert_eq!(inputs[1], [channels], "batch_moments");
        vec![vec![2, channels]]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let x = viewed(&inputs[0], &flat(&inputs[0].shape));
        let shifted = builder.prim_sub(&x, View::from(&inputs[1]).broadcast(&x.shape));
        let squares = builder.prim_mul(&shifted, &shifted);
        let sums = [&shifted, &squares].map(|of| builder.prim_sum(of, 0));
        let [first, second] = [(0, 1), (1, 0)].map(|(before, after)| {
            let sum = &sums[before];
            let row = viewed(sum, &[1, sum.len()]);
            builder.prim_contiguous(View::from(&row).pad(0, before, after))
        });
        vec![builder.prim_add(&first, &second)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Mean and variance of a batch (Ioffe & Szegedy 2015) from its [`BatchMoments`] `[2, channels]` and their shift
/// `[channels]`: outputs mean and biased variance, `[channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchStatistics {
    /// Numbers per channel that were summed.
    pub count: usize,
}

impl Operation for BatchStatistics {
    fn name(&self) -> &'static str {
        "batch_statistics"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("count", self.count.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[1].to_vec(); 2]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shift = &inputs[1];
        let [first, second] = [0, 1].map(|row| {
            let sum = builder.prim_contiguous(View::from(&inputs[0]).slice(0, row, 1));
            builder.prim_affine(&viewed(&sum, &shift.shape), 1.0 / self.count as f32, 0.0)
        });
        let mean = builder.prim_add(shift, &first);
        let square = builder.prim_mul(&first, &first);
        let variance = builder.prim_sub(&second, &square);
        // What is rounded below zero is zero.
        let zero = builder.constant(0.0, &shift.shape);
        let positive = builder.prim_less_than(zero, &variance);
        vec![mean, builder.prim_mul(&variance, &positive)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Batch normalisation by given statistics: `y = (x - mean) rstd gamma + beta`, `rstd = 1 / sqrt(variance + epsilon)`.
/// Inputs x `[.., channels]`, gamma, beta, mean and variance `[channels]`; y as x.
///
/// With `of_batch` the statistics are those of x itself, and the gradient of x is the whole one, by way of them too:
/// mean and variance have none of their own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance, against division by zero.
    pub epsilon: f32,
    /// Whether mean and variance were computed from x.
    pub of_batch: bool,
}

/// `1 / sqrt(variance + epsilon)`.
fn rstd(builder: &mut Builder, variance: &Value, epsilon: f32) -> Value {
    let shifted = builder.prim_affine(variance, 1.0, epsilon);
    let deviation = builder.prim_sqrt(&shifted);
    builder.prim_recip(&deviation)
}

fn epsilon(epsilon: f32) -> Vec<(&'static str, String)> {
    vec![("epsilon", format!("{epsilon:e}"))]
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        epsilon(self.epsilon)
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let [_, channels] = flat(inputs[0]);
        assert!(inputs[1..].iter().all(|shape| **shape == [channels]), "batch_norm: {inputs:?}");
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let [x, gamma, _, mean, variance] = site.inputs else { panic!("batch_norm has five inputs") };
        let dy = &site.grads[0];
        let sums = builder.apply(BatchNormSums { epsilon: self.epsilon }, &[dy, x, mean, variance]);
        let dx = site.wanted[0].then(|| {
            let gradient = BatchNormGradient(*self);
            builder.apply_one(gradient, &[dy, x, gamma, mean, variance, &sums[0], &sums[1]])
        });
        let mut sums = sums.into_iter().map(Some);
        vec![dx, sums.next().flatten(), sums.next().flatten(), None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let x = viewed(&inputs[0], &flat(&inputs[0].shape));
        let along = |value: &Value| View::from(value).broadcast(&x.shape);
        let rstd = rstd(builder, &inputs[4], self.epsilon);
        let centred = builder.prim_sub(&x, along(&inputs[3]));
        let normal = builder.prim_mul(&centred, along(&rstd));
        let scaled = builder.prim_mul(&normal, along(&inputs[1]));
        let y = builder.prim_add(&scaled, along(&inputs[2]));
        vec![viewed(&y, &inputs[0].shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        if self.of_batch {
            return None;
        }
        let epsilon = Attribute::float("epsilon", self.epsilon);
        let [x, parameters @ ..] = inputs else { return None };
        Some(writer.channels_second(x, shape, |writer, x, shape| {
            let inputs: Vec<&Tensor> = std::iter::once(x).chain(parameters).collect();
            writer.node("BatchNormalization", &inputs, vec![epsilon], shape)
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The gradients of a [`BatchNorm`]'s gamma and beta: inputs dy and x `[.., channels]`, mean and variance `[channels]`;
/// outputs the sums of `dy (x - mean) rstd` and of dy, `[channels]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormSums {
    /// As of the [`BatchNorm`].
    pub epsilon: f32,
}

impl Operation for BatchNormSums {
    fn name(&self) -> &'static str {
        "batch_norm_sums"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        epsilon(self.epsilon)
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[2].to_vec(); 2]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None; 4]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let [dy, x] = [0, 1].map(|input| viewed(&inputs[input], &flat(&inputs[input].shape)));
        let rstd = rstd(builder, &inputs[3], self.epsilon);
        let centred = builder.prim_sub(&x, View::from(&inputs[2]).broadcast(&x.shape));
        let normal = builder.prim_mul(&centred, View::from(&rstd).broadcast(&x.shape));
        let product = builder.prim_mul(&dy, &normal);
        [&product, &dy].map(|of| builder.prim_sum(of, 0)).to_vec()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The gradient of a [`BatchNorm`]'s x: inputs dy and x `[.., channels]`, gamma, mean, variance, and the gradients of
/// gamma and beta, `[channels]`. Over m numbers per channel, with `n = (x - mean) rstd`:
/// `dx = gamma rstd (dy - dbeta / m - n dgamma / m)`; by statistics that are not the batch's, `dx = gamma rstd dy`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormGradient(pub BatchNorm);

impl Operation for BatchNormGradient {
    fn name(&self) -> &'static str {
        "batch_norm_gradient"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        epsilon(self.0.epsilon)
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[1].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None; 7]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let [mut dy, x] = [0, 1].map(|input| viewed(&inputs[input], &flat(&inputs[input].shape)));
        let along = |value: &Value| View::from(value).broadcast(&x.shape);
        let rstd = rstd(builder, &inputs[4], self.0.epsilon);
        if self.0.of_batch {
            let share = 1.0 / x.shape[0] as f32;
            let centred = builder.prim_sub(&x, along(&inputs[3]));
            let normal = builder.prim_mul(&centred, along(&rstd));
            let [dgamma, dbeta] = [5, 6].map(|input| builder.prim_affine(&inputs[input], share, 0.0));
            let along_normal = builder.prim_mul(&normal, along(&dgamma));
            let mean = builder.prim_add(&along_normal, along(&dbeta));
            dy = builder.prim_sub(&dy, &mean);
        }
        let factor = builder.prim_mul(&inputs[2], &rstd);
        let dx = builder.prim_mul(&dy, along(&factor));
        vec![viewed(&dx, &inputs[1].shape)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// One step of a moving average, as Keras has it: inputs the average and a statistic of the batch, of one shape; output
/// `momentum average + (1 - momentum) statistic`, which backends write in place. A third input, of that shape, becomes a
/// copy of it: averages of parameters have moving averages as they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MovingAverage {
    /// The share of the average that stays, from 0 to 1.
    pub momentum: f32,
}

impl Operation for MovingAverage {
    fn name(&self) -> &'static str {
        "moving_average"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("momentum", self.momentum.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert_eq!(inputs[0], inputs[1], "moving_average");
        vec![inputs[0].to_vec(); inputs.len() - 1]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let kept = builder.prim_affine(&inputs[0], self.momentum, 0.0);
        let new = builder.prim_affine(&inputs[1], 1.0 - self.momentum, 0.0);
        vec![builder.prim_add(&kept, &new); inputs.len() - 1]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
