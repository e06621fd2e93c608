//! Updates of parameters.

use super::{
    super::{
        kernel::{Call, Kernel, Kind, Split},
        kernels::{
            adamw,
            gemm::{Mat, NR, panels::Panels},
        },
    },
    Lower, PanelUse, ROWS, Role, Scheduling, Site,
};
use crate::graph::ops::{AdamWUpdate, flat};

fn rates(rule: &AdamWUpdate, encoded: &[f32], iteration: u64) -> adamw::Rates {
    let &AdamWUpdate { beta_1, beta_2, epsilon, weight_decay } = rule;
    adamw::Rates::new(encoded[0], weight_decay, beta_1, beta_2, epsilon, iteration + 1)
}

impl Lower for AdamWUpdate {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Update, panels: Some(PanelUse::Update) };

    fn lower(&self, _: &Site) -> Option<Kernel> {
        let rule = *self;
        Some(
            Kernel::per_image(move |call| {
                let rates = rates(&rule, call.inputs[4], call.iteration);
                let [w, m, v] = &mut call.outputs[..] else { return };
                adamw::step(w, call.inputs[1], m, v, &rates);
            })
            .outputs(&[Kind::PerImage; 3])
            .split(Split::Elements),
        )
    }
}

/// The update of a dense kernel by the gradient of a dense layer of one row per image, which is never in memory. Inputs
/// are those of the gradient and the rates; outputs the kernel and its moments.
pub fn dense(rule: AdamWUpdate, x: &[usize], dy: &[usize], panels: Option<Panels>) -> Kernel {
    let ([batch, width], [_, columns]) = (flat(x), flat(dy));
    if let Some(panels) = panels {
        return in_panels(rule, batch, panels);
    }
    let run = move |call: &mut Call| {
        let [x, dy, encoded] = call.inputs[..] else { return };
        let x = Mat::transposed(&x[call.part.start..], width);
        let rates = rates(&rule, encoded, call.iteration);
        let [w, m, v] = &mut call.outputs[..] else { return };
        adamw::dense::update(x, dy, columns, w, m, v, &rates, call.scratch);
    };
    Kernel::per_image(run)
        .outputs(&[Kind::PerImage; 3])
        .scratch(move |rows| adamw::dense::scratch_len(batch, rows, columns))
        .split(Split::Rows { rows: width, columns, together: ROWS })
}

/// As [`dense`]; the outputs are in panels, which are shared as if they were rows.
fn in_panels(rule: AdamWUpdate, batch: usize, panels: Panels) -> Kernel {
    let run = move |call: &mut Call| {
        let [x, dy, encoded] = call.inputs[..] else { return };
        let rates = rates(&rule, encoded, call.iteration);
        let [w, m, v] = &mut call.outputs[..] else { return };
        let columns = call.part.start * NR..call.part.end * NR;
        adamw::panels::update(panels, columns, x, dy, w, m, v, &rates, call.scratch);
    };
    Kernel::per_image(run)
        .outputs(&[Kind::PerImage; 3])
        .scratch(move |count| adamw::panels::scratch_len(batch, count * NR))
        .split(Split::Rows { rows: panels.n / NR, columns: panels.k * NR, together: 4 })
}
