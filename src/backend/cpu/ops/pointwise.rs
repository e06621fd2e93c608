//! Operators that treat each element alone.

use super::{Lower, Role, Scheduling, Site, mask};
use crate::{
    backend::cpu::{
        kernel::Kernel,
        kernels::{activation, dropout, elementwise, pointwise},
    },
    graph::{
        Operation,
        ops::{self, Activation, ActivationGradient},
    },
};

impl Lower for Activation {
    fn lower(&self, _: &Site) -> Option<Kernel> {
        let kernel = match activation::own(self.name()) {
            Some((run, _)) => Kernel::per_image(move |call| run(call.inputs[0], call.outputs[0])),
            None => {
                let program = pointwise::Program::new(&self.expression())?;
                Kernel::per_image(move |call| program.run(&call.inputs[..1], call.outputs[0]))
            }
        };
        Some(kernel.cheap())
    }
}

impl Lower for ActivationGradient {
    fn lower(&self, _: &Site) -> Option<Kernel> {
        let Self(activation) = self;
        Some(match activation::own(activation.name()) {
            Some((_, run)) => Kernel::per_image(move |call| run(call.inputs[1], call.inputs[0], call.outputs[0])),
            None => {
                let program = pointwise::Program::new(&activation.expression().gradient(0))?;
                Kernel::per_image(move |call| program.run(&call.inputs[..2], call.outputs[0]))
            }
        })
    }
}

impl Lower for ops::Dropout {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (operator, per_image) = (*self, site.shapes[0].iter().skip(1).product::<usize>());
        Some(
            Kernel::per_image(move |call| {
                let mask = mask(&operator, call.inputs[1]);
                dropout::apply(&mask, (call.first * per_image) as u64, call.inputs[0], call.outputs[0]);
            })
            .cheap(),
        )
    }
}

impl Lower for ops::Add {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Sum, ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        Some(if site.shapes[0] == site.shapes[1] {
            Kernel::per_image(|call| elementwise::add(call.inputs[0], call.inputs[1], call.outputs[0]))
        } else {
            Kernel::per_image(|call| elementwise::add_rows(call.inputs[0], call.inputs[1], call.outputs[0]))
        })
    }
}

impl Lower for ops::Scale {
    fn lower(&self, _: &Site) -> Option<Kernel> {
        let &Self { factor } = self;
        Some(Kernel::per_image(move |call| elementwise::scale(factor, call.inputs[0], call.outputs[0])))
    }
}
