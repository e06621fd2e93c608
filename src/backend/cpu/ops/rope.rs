//! Rotary position embeddings.

use super::{Lower, Site};
use crate::{backend::cpu::kernel::Kernel, graph::ops::Rope};

impl Lower for Rope {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let Self { heads, grid: [rows, columns], skipped, .. } = *self;
        let dim = self.dim(site.shapes[0]);
        let turns = self.turns(dim);
        let width = heads * dim;
        Some(Kernel::per_image(move |call| {
            let tokens = skipped + rows * columns;
            let (x, y) =
                (call.inputs[0].chunks_exact(tokens * width), call.outputs[0].chunks_exact_mut(tokens * width));
            for (x, y) in x.zip(y) {
                let (stays, x) = x.split_at(skipped * width);
                let (first, y) = y.split_at_mut(skipped * width);
                first.copy_from_slice(stays);
                let x = x.chunks_exact(width).zip(turns.chunks_exact(dim / 2));
                for ((x, turns), y) in x.zip(y.chunks_exact_mut(width)) {
                    for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
                        let pairs = x.chunks_exact(2).zip(y.chunks_exact_mut(2));
                        for ((x, y), [cosine, sine]) in pairs.zip(turns) {
                            y[0] = x[0] * cosine - x[1] * sine;
                            y[1] = x[1] * cosine + x[0] * sine;
                        }
                    }
                }
            }
        }))
    }
}
