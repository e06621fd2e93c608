//! The mask of shifted windows.

use super::{Lower, Site};
use crate::{backend::cpu::kernel::Kernel, graph::ops::MaskWindows};

impl Lower for MaskWindows {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let &[_, rows, columns, heads, ..] = site.shapes[0] else { return None };
        let tables = [false, true].map(|last_row| [false, true].map(|last_column| self.table([last_row, last_column])));
        let pairs = self.tokens() * self.tokens();
        Some(Kernel::per_image(move |call| {
            let (from, to) = (call.inputs[0].chunks(pairs), call.outputs[0].chunks_mut(pairs));
            for (index, (from, to)) in from.zip(to).enumerate() {
                let window = index / heads;
                let (row, column) = (window / columns % rows, window % columns);
                let table = &tables[usize::from(row + 1 == rows)][usize::from(column + 1 == columns)];
                for ((y, x), added) in to.iter_mut().zip(from).zip(table) {
                    *y = x + added;
                }
            }
        }))
    }
}
