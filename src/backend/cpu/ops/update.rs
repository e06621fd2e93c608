//! Updates of parameters.

use smallvec::SmallVec;

use super::{
    super::{
        kernel::{Call, Kernel, Kind, Split},
        kernels::{
            gemm::{Mat, NR, panels::Panels},
            update::{self, Rule},
        },
    },
    Lower, PanelUse, ROWS, Role, Scheduling, Site,
};
use crate::graph::ops::{Update, flat};

impl Lower for Update {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Update, panels: Some(PanelUse::Update) };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        if let Some(panels) = site.panels {
            return on_panels(self, panels);
        }
        let (operator, rule) = (self.clone(), Rule::new(&self.optimizer)?);
        let states = operator.states();
        let run = move |call: &mut Call| {
            let scalars = scalars(&operator, &call.inputs);
            rule.step(&scalars, call.inputs[1], &mut call.outputs);
        };
        Some(Kernel::per_image(run).outputs(&vec![Kind::PerImage; states]).split(Split::Elements))
    }
}

/// The numbers that an update reads: its own of the step, then the factor of clipped gradients.
fn scalars(operator: &Update, inputs: &[&[f32]]) -> SmallVec<[f32; 8]> {
    let own = operator.scalars(inputs[operator.scalars_input()]).iter().copied();
    own.chain(operator.factor_input().map(|input| inputs[input][0])).collect()
}

/// The update of a kernel in panels by a gradient in memory, which is row-major. Panels are shared as if they were rows.
fn on_panels(operator: &Update, panels: Panels) -> Option<Kernel> {
    let (operator, rule) = (operator.clone(), Rule::new(&operator.optimizer)?);
    let states = operator.states();
    let run = move |call: &mut Call| {
        let scalars = scalars(&operator, &call.inputs);
        let columns = call.part.start * NR..call.part.end * NR;
        update::panels::by_gradient(&rule, panels, columns, call.inputs[1], &scalars, &mut call.outputs, call.scratch);
    };
    let kernel = Kernel::per_image(run)
        .outputs(&vec![Kind::PerImage; states])
        .scratch(|_| update::panels::GRADIENT_SCRATCH)
        .split(Split::Rows { rows: panels.n / NR, columns: panels.k * NR, together: 4 });
    Some(kernel)
}

/// The update of a dense kernel by the gradient of a dense layer of one row per image, which is never in memory. Inputs
/// are those of the gradient and the numbers of the step; outputs the kernel and its slots.
pub fn dense(operator: &Update, x: &[usize], dy: &[usize], panels: Option<Panels>) -> Option<Kernel> {
    let ([batch, width], [_, columns]) = (flat(x), flat(dy));
    if let Some(panels) = panels {
        return in_panels(operator, batch, panels);
    }
    let (operator, rule) = (operator.clone(), Rule::new(&operator.optimizer)?);
    let states = operator.states();
    let run = move |call: &mut Call| {
        let [x, dy, scalars] = call.inputs[..] else { return };
        let x = Mat::transposed(&x[call.part.start..], width);
        update::dense::update(&rule, x, dy, columns, operator.scalars(scalars), &mut call.outputs, call.scratch);
    };
    let kernel = Kernel::per_image(run)
        .outputs(&vec![Kind::PerImage; states])
        .scratch(move |rows| update::dense::scratch_len(batch, rows, columns))
        .split(Split::Rows { rows: width, columns, together: ROWS });
    Some(kernel)
}

/// As [`dense`]; the outputs are in panels, which are shared as if they were rows.
fn in_panels(operator: &Update, batch: usize, panels: Panels) -> Option<Kernel> {
    let (operator, rule) = (operator.clone(), Rule::new(&operator.optimizer)?);
    let states = operator.states();
    let run = move |call: &mut Call| {
        let [x, dy, scalars] = call.inputs[..] else { return };
        let columns = call.part.start * NR..call.part.end * NR;
        let scalars = operator.scalars(scalars);
        update::panels::update(&rule, panels, columns, x, dy, scalars, &mut call.outputs, call.scratch);
    };
    let kernel = Kernel::per_image(run)
        .outputs(&vec![Kind::PerImage; states])
        .scratch(move |count| update::panels::scratch_len(batch, count * NR))
        .split(Split::Rows { rows: panels.n / NR, columns: panels.k * NR, together: 4 });
    Some(kernel)
}
