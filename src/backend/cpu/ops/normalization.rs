//! Layer normalisation.

use super::{Lower, Site};
use crate::{
    backend::cpu::{
        kernel::{Call, Kernel, Kind},
        kernels::layer_norm,
    },
    graph::ops::{self, flat},
};

impl Lower for ops::LayerNorm {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [_, width] = flat(site.shapes[0]);
        let &Self { epsilon } = self;
        let run = move |call: &mut Call| {
            let rows = call.inputs[0].len() / width;
            let [y, mean, rstd] = &mut call.outputs[..] else { return };
            layer_norm::forward(rows, width, call.inputs[0], call.inputs[1], call.inputs[2], epsilon, y, mean, rstd);
        };
        Some(Kernel::per_image(run).outputs(&[Kind::PerImage; 3]).cheap())
    }
}

impl Lower for ops::LayerNormGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [_, width] = flat(site.shapes[0]);
        let run = move |call: &mut Call| {
            let [dy, x, gamma, mean, rstd] = call.inputs[..] else { return };
            let [dx, dgamma, dbeta] = &mut call.outputs[..] else { return };
            layer_norm::backward(x.len() / width, width, x, gamma, mean, rstd, dy, dx, dgamma, dbeta);
        };
        Some(Kernel::per_image(run).outputs(&[Kind::PerImage, Kind::Sum, Kind::Sum]))
    }
}
