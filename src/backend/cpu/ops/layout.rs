//! Operators that only move elements.

use super::{Lower, Role, Scheduling, Site, image, image_mut, inner};
use crate::{
    backend::cpu::{kernel::Kernel, kernels::transpose},
    graph::ops,
};

impl Lower for ops::Reshape {
    const SCHEDULING: Scheduling = Scheduling { role: Role::View, ..Scheduling::PLAIN };

    fn lower(&self, _: &Site) -> Option<Kernel> {
        None
    }
}

impl Lower for ops::Expand {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Repeat, ..Scheduling::PLAIN };

    fn lower(&self, _: &Site) -> Option<Kernel> {
        Some(Kernel::per_image(|call| {
            let source = call.inputs[0];
            call.outputs[0].chunks_mut(source.len()).for_each(|row| row.copy_from_slice(source));
        }))
    }
}

impl Lower for ops::Transpose {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        if self.permutation[0] != 0 {
            return None;
        }
        let shape = site.shapes[0].to_vec();
        let axes: Vec<usize> = self.permutation[1..].iter().map(|axis| axis - 1).collect();
        Some(Kernel::per_image(move |call| {
            for index in 0..call.images {
                let (from, to) =
                    (image(call.inputs[0], call.images, index), image_mut(call.outputs[0], call.images, index));
                transpose::permute(&shape[1..], &axes, from, to);
            }
        }))
    }
}

impl Lower for ops::Slice {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let &Self { axis, start, length } = self;
        let [_, from, inner] = inner(site.shapes[0], axis)?;
        Some(Kernel::per_image(move |call| {
            let (from, to) = (call.inputs[0].chunks(from * inner), call.outputs[0].chunks_mut(length * inner));
            from.zip(to).for_each(|(from, to)| to.copy_from_slice(&from[start * inner..][..length * inner]));
        }))
    }
}

impl Lower for ops::Pad {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let &Self { axis, before, after } = self;
        let [_, length, inner] = inner(site.shapes[0], axis)?;
        Some(Kernel::per_image(move |call| {
            let to = call.outputs[0].chunks_mut((before + length + after) * inner);
            for (from, to) in call.inputs[0].chunks(length * inner).zip(to) {
                to.fill(0.0);
                to[before * inner..][..length * inner].copy_from_slice(from);
            }
        }))
    }
}

impl Lower for ops::Concat {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let parts: Vec<usize> = site
            .shapes
            .iter()
            .map(|shape| inner(shape, self.axis).map(|[_, length, inner]| length * inner))
            .collect::<Option<_>>()?;
        let row: usize = parts.iter().sum();
        Some(Kernel::per_image(move |call| {
            let mut start = 0;
            for (input, &len) in call.inputs.iter().zip(&parts) {
                for (from, to) in input.chunks(len).zip(call.outputs[0].chunks_mut(row)) {
                    to[start..][..len].copy_from_slice(from);
                }
                start += len;
            }
        }))
    }
}
