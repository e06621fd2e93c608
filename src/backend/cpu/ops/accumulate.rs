//! Sums of the gradients of micro-batches.

use super::{Lower, Role, Scheduling, Site};
use crate::{
    backend::cpu::{
        kernel::{Call, Kernel, Kind, Split},
        kernels::{
            accumulate,
            gemm::{NR, panels::Panels},
        },
    },
    graph::ops::Accumulate,
};

impl Lower for Accumulate {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Accumulate, ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        if let Some(panels) = site.panels {
            return Some(in_panels(*self, panels));
        }
        let share = self.share();
        let run = move |call: &mut Call| match (&mut call.outputs[..], share) {
            ([sum, mean], Some(share)) => accumulate::end(share, call.inputs[1], sum, mean),
            ([sum, ..], _) => accumulate::add(call.inputs[1], sum),
            ([], _) => {}
        };
        Some(Kernel::per_image(run).outputs(&outputs(*self)).split(Split::Elements))
    }
}

fn outputs(operator: Accumulate) -> Vec<Kind> {
    vec![Kind::PerImage; 1 + usize::from(operator.ends.is_some())]
}

/// A sum in panels, of gradients in rows.
fn in_panels(operator: Accumulate, panels: Panels) -> Kernel {
    let Panels { k, n } = panels;
    let kernel = match operator.share() {
        // Panels are shared as if they were rows.
        None => Kernel::per_image(move |call: &mut Call| {
            for (panel, sum) in call.part.clone().zip(call.outputs[0].chunks_exact_mut(k * NR)) {
                for (sum, row) in sum.chunks_exact_mut(NR).zip(call.inputs[1].chunks_exact(n)) {
                    accumulate::add(&row[panel * NR..][..NR], sum);
                }
            }
        })
        .split(Split::Rows { rows: n / NR, columns: k * NR, together: 4 }),
        // The mean is in rows: the parts of both are not the same.
        Some(share) => Kernel::per_image(move |call: &mut Call| {
            let [sum, mean] = &mut call.outputs[..] else { return };
            for (panel, sum) in sum.chunks_exact_mut(k * NR).enumerate() {
                let rows = call.inputs[1].chunks_exact(n).zip(mean.chunks_exact_mut(n));
                for (sum, (row, mean)) in sum.chunks_exact_mut(NR).zip(rows) {
                    let columns = panel * NR..(panel + 1) * NR;
                    accumulate::end(share, &row[columns.clone()], sum, &mut mean[columns]);
                }
            }
        })
        .split(Split::Once),
    };
    kernel.outputs(&outputs(operator))
}
