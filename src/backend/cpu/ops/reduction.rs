//! Sums and means over an axis.

use super::{Lower, Site, inner};
use crate::{
    backend::cpu::{
        kernel::{Call, Kernel, Kind},
        kernels::elementwise,
    },
    graph::{Operation, ops},
};

impl Lower for ops::SumLeading {
    fn lower(&self, _: &Site) -> Option<Kernel> {
        let len: usize = self.shape.iter().product();
        let run = move |call: &mut Call| {
            elementwise::sum_rows(call.inputs[0].len() / len, len, call.inputs[0], call.outputs[0])
        };
        Some(Kernel::per_image(run).outputs(&[Kind::Sum]))
    }
}

impl Lower for ops::Mean {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [outer, length, inner] = inner(site.shapes[0], self.axis)?;
        Some(Kernel::per_image(move |call| {
            elementwise::mean_axis(call.images * outer, length, inner, call.inputs[0], call.outputs[0]);
        }))
    }
}

impl Lower for ops::MeanGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let [outer, length, inner] = inner(&self.output_shapes(site.shapes)[0], self.axis)?;
        Some(Kernel::per_image(move |call| {
            elementwise::mean_axis_backward(call.images * outer, length, inner, call.inputs[0], call.outputs[0]);
        }))
    }
}
