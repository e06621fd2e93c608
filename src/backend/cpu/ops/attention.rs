//! Attention.

use super::{Lower, Site, image, image_mut, mask};
use crate::{
    backend::cpu::{
        kernel::{Kernel, Kind},
        kernels::{attention, dropout, gemm::NR},
    },
    graph::ops::{Attention, AttentionGradient, AttentionShape},
};

fn per_image_attention(
    operator: &Attention,
    shape: &AttentionShape,
    mask: Option<dropout::Mask>,
    image: usize,
) -> attention::Attention {
    let &AttentionShape { tokens, sources, heads, key_dim, value_dim, .. } = shape;
    let (scale, &Attention { shared_keys, summed, diagonal, .. }) = (operator.scale(key_dim), operator);
    attention::Attention {
        tokens,
        sources,
        heads,
        key_dim,
        value_dim,
        scale,
        shared_keys,
        summed,
        diagonal,
        mask,
        image,
    }
}

/// Windows of an image, each of which attends to itself: a tensor of `[batch, .., tokens, dim]`.
fn windows(shape: &[usize]) -> usize {
    shape[1..shape.len() - 2].iter().product()
}

impl Lower for Attention {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (operator, shapes) = (*self, site.shapes);
        let shape = AttentionShape::new(&operator, shapes[0], shapes[1], shapes[2]);
        let any_image = per_image_attention(&operator, &shape, None, 0);
        let windows = windows(shapes[0]);
        let (scratch, kept) = (any_image.forward_scratch_len(), windows * any_image.kept_len(shapes.len() > 3));
        Some(
            Kernel::per_image(move |call| {
                let mask = call.inputs.get(3).map(|random| mask(&operator.dropout, random));
                let images = call.images * windows;
                for index in 0..images {
                    let [q, k, v] = [0, 1, 2].map(|input| image(call.inputs[input], images, index));
                    let [out, kept, copy @ ..] = &mut call.outputs[..] else { return };
                    let [out, kept] = [out, kept].map(|output| image_mut(output, images, index));
                    let copy = copy.first_mut().map_or(&mut [][..], |copy| image_mut(copy, images, index));
                    let kernel = per_image_attention(&operator, &shape, mask, call.first * windows + index);
                    kernel.forward(q, k, v, out, copy, kept, call.scratch);
                }
            })
            // The weights would be most of what a step keeps: tokens times tokens for each head.
            .outputs(&[Kind::PerImage, Kind::Abridged(kept)])
            .scratch(move |_| scratch)
            .streams(shape.value_dim.is_multiple_of(NR)),
        )
    }
}

impl Lower for AttentionGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shapes = site.shapes;
        let (operator, weights) = (self.0, self.weights());
        let shape = AttentionShape::new(&operator, shapes[1], shapes[2], shapes[3]);
        let scratch = per_image_attention(&operator, &shape, None, 0).backward_scratch_len();
        let windows = windows(shapes[1]);
        Some(
            Kernel::per_image(move |call| {
                let mask = call.inputs.get(weights + 1).map(|random| mask(&operator.dropout, random));
                let images = call.images * windows;
                for index in 0..images {
                    let [dy, q, k, v, kept] =
                        [0, 1, 2, 3, weights].map(|input| image(call.inputs[input], images, index));
                    let y = if operator.summed { &[] } else { image(call.inputs[4], images, index) };
                    let [dq, dk, dv] = &mut call.outputs[..] else { return };
                    let [dq, dk, dv] = [dq, dk, dv].map(|output| image_mut(output, images, index));
                    let kernel = per_image_attention(&operator, &shape, mask, call.first * windows + index);
                    kernel.backward(q, k, v, y, kept, dy, dq, dk, dv, call.scratch);
                }
            })
            .outputs(&[Kind::PerImage; 3])
            .scratch(move |_| scratch),
        )
    }
}
