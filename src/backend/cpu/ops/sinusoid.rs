//! Sines and cosines of positions.

use super::{Lower, Site};
use crate::{backend::cpu::kernel::Kernel, graph::ops::AddSinusoid};

impl Lower for AddSinusoid {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let table = self.layout.table(site.shapes[0][1], site.shapes[0][2]);
        Some(Kernel::per_image(move |call| {
            let (from, to) = (call.inputs[0].chunks(table.len()), call.outputs[0].chunks_mut(table.len()));
            for (from, to) in from.zip(to) {
                for ((y, x), added) in to.iter_mut().zip(from).zip(&table) {
                    *y = x + added;
                }
            }
        }))
    }
}
