//! Batch normalisation: sums over the batch, what is made of them, and the passes over images that use it.

use super::{Lower, Role, Scheduling, Site};
use crate::{
    backend::cpu::{
        kernel::{Kernel, Kind, Split},
        kernels::batch_norm,
    },
    graph::ops::{self, flat},
};

fn rstd(variance: f32, epsilon: f32) -> f32 {
    1.0 / (variance + epsilon).sqrt()
}

impl Lower for ops::BatchMoments {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [_, channels] = flat(site.shapes[0]);
        let kernel = Kernel::per_image(move |call| {
            batch_norm::moments(call.images, channels, call.inputs[0], call.inputs[1], call.outputs[0]);
        });
        Some(kernel.outputs(&[Kind::Sum]))
    }
}

impl Lower for ops::BatchStatistics {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (channels, operator) = (site.shapes[1][0], *self);
        let kernel = Kernel::per_image(move |call| {
            let [sums, shift] = call.inputs[..] else { return };
            let [mean, variance] = &mut call.outputs[..] else { return };
            for c in 0..channels {
                let [first, second] = [sums[c], sums[channels + c]].map(|sum| f64::from(sum) / operator.count as f64);
                let spread = (second - first * first).max(0.0);
                mean[c] = (f64::from(shift[c]) + first) as f32;
                variance[c] = spread as f32;
            }
        });
        Some(kernel.outputs(&[Kind::PerImage; 2]))
    }
}

impl Lower for ops::BatchNorm {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let ([_, channels], epsilon) = (flat(site.shapes[0]), self.epsilon);
        let kernel = Kernel::per_image(move |call| {
            let [x, gamma, beta, mean, variance] = call.inputs[..] else { return };
            let factor = &mut call.scratch[..channels];
            for ((factor, gamma), variance) in factor.iter_mut().zip(gamma).zip(variance) {
                *factor = gamma * rstd(*variance, epsilon);
            }
            batch_norm::normalise(channels, x, mean, factor, beta, call.outputs[0]);
        });
        Some(kernel.scratch(move |_| channels).cheap())
    }
}

impl Lower for ops::BatchNormSums {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let ([_, channels], epsilon) = (flat(site.shapes[0]), self.epsilon);
        let kernel = Kernel::per_image(move |call| {
            let [dy, x, mean, variance] = call.inputs[..] else { return };
            let rstds = &mut call.scratch[..channels];
            for (own, variance) in rstds.iter_mut().zip(variance) {
                *own = rstd(*variance, epsilon);
            }
            let [dgamma, dbeta] = &mut call.outputs[..] else { return };
            batch_norm::gradient_sums(call.images, channels, dy, x, mean, rstds, dgamma, dbeta);
        });
        Some(kernel.outputs(&[Kind::Sum; 2]).scratch(move |_| channels))
    }
}

impl Lower for ops::BatchNormGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [rows, channels] = flat(site.shapes[0]);
        let (share, epsilon) = (if self.0.of_batch { 1.0 / rows as f32 } else { 0.0 }, self.0.epsilon);
        let kernel = Kernel::per_image(move |call| {
            let [dy, x, gamma, mean, variance, dgamma, dbeta] = call.inputs[..] else { return };
            let terms = &mut call.scratch[..3 * channels];
            for c in 0..channels {
                let rstd = rstd(variance[c], epsilon);
                let factor = gamma[c] * rstd;
                terms[c] = factor;
                terms[channels + c] = -factor * rstd * dgamma[c] * share;
                terms[2 * channels + c] = -factor * dbeta[c] * share;
            }
            batch_norm::gradient(channels, dy, x, mean, terms, call.outputs[0]);
        });
        Some(kernel.scratch(move |_| 3 * channels))
    }
}

impl Lower for ops::MovingAverage {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Update, ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        let momentum = self.momentum;
        let kernel = Kernel::per_image(move |call| {
            let [averages, copies @ ..] = &mut call.outputs[..] else { return };
            for (average, statistic) in averages.iter_mut().zip(call.inputs[1]) {
                *average = momentum * *average + (1.0 - momentum) * statistic;
            }
            copies.iter_mut().for_each(|copy| copy.copy_from_slice(averages));
        });
        let outputs = vec![Kind::PerImage; site.shapes.len() - 1];
        Some(kernel.outputs(&outputs).split(Split::Elements))
    }
}
