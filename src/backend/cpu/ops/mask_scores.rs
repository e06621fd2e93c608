//! Scores of an attention that are left out.

use super::{Lower, Site};
use crate::{
    backend::cpu::kernel::Kernel,
    graph::ops::{Lookup, MaskScores},
};

impl Lower for MaskScores {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        match *self {
            Self::Diagonal => {
                let tokens = *site.shapes[0].last()?;
                Some(Kernel::per_image(move |call| {
                    call.outputs[0].copy_from_slice(call.inputs[0]);
                    for scores in call.outputs[0].chunks_mut(tokens * tokens) {
                        scores.iter_mut().step_by(tokens + 1).for_each(|score| *score += Lookup::LEFT_OUT);
                    }
                }))
            }
            Self::Windows { window, shift } => {
                let &[_, rows, columns, heads, tokens, _] = site.shapes[0] else { return None };
                let tables = [false, true].map(|last_row| {
                    [false, true].map(|last_column| Self::table(window, shift, [last_row, last_column]))
                });
                let pairs = tokens * tokens;
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
    }
}
