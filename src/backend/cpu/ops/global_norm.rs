//! The norm of all gradients, of which updates read a factor.

use super::{Lower, Role, Scheduling, Site};
use crate::{
    backend::cpu::{
        kernel::{Call, Kernel, Split},
        kernels::squares::sum_of_squares,
    },
    graph::ops::{ClipFactor, Total},
};

impl Lower for Total {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Norm, panels: None };

    fn lower(&self, _: &Site) -> Option<Kernel> {
        let squares = self.squares;
        let run = move |call: &mut Call| {
            let of = |x: &&[f32]| if squares { sum_of_squares(x) } else { x.iter().map(|&x| f64::from(x)).sum() };
            call.outputs[0][0] = call.inputs.iter().map(of).sum::<f64>() as f32;
        };
        Some(Kernel::per_image(run).split(Split::Once))
    }
}

impl Lower for ClipFactor {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Norm, panels: None };

    fn lower(&self, _: &Site) -> Option<Kernel> {
        let factor = *self;
        let run = move |call: &mut Call| call.outputs[0][0] = factor.of(call.inputs.iter().map(|sum| sum[0]).sum());
        Some(Kernel::per_image(run).split(Split::Once))
    }
}
