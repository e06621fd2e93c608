//! Tensors of the elements of a parameter.

use super::{Lower, Role, Scheduling, Site};
use crate::{
    backend::cpu::kernel::Kernel,
    graph::ops::{Lookup, LookupGradient},
};

impl Lower for Lookup {
    const SCHEDULING: Scheduling = Scheduling { role: Role::OfParameters, ..Scheduling::PLAIN };

    fn lower(&self, _: &Site) -> Option<Kernel> {
        let lookup = *self;
        Some(Kernel::per_image(move |call| {
            let table = call.inputs[0];
            for (element, y) in call.outputs[0].iter_mut().enumerate() {
                *y = lookup.index(table.len(), element).map_or(Lookup::LEFT_OUT, |index| table[index]);
            }
        }))
    }
}

impl Lower for LookupGradient {
    const SCHEDULING: Scheduling = Scheduling { role: Role::OfParameters, ..Scheduling::PLAIN };

    fn lower(&self, _: &Site) -> Option<Kernel> {
        let lookup = self.lookup;
        Some(Kernel::per_image(move |call| {
            let table = &mut call.outputs[0];
            table.fill(0.0);
            for (element, dy) in call.inputs[0].iter().enumerate() {
                if let Some(index) = lookup.index(table.len(), element) {
                    table[index] += dy;
                }
            }
        }))
    }
}
