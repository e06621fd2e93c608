//! Updates of parameters.

use smallvec::SmallVec;

use super::{
    super::{
        kernel::{Call, Kernel, Kind, Split},
        kernels::{
            gemm::{Mat, NR, panels::Panels},
            orthogonal::{self, orthogonalize},
            pointwise::{self, Input},
            update::{self, Rule},
        },
    },
    Lower, PanelUse, ROWS, Role, Scheduling, Site,
};
use crate::graph::ops::{Direction, Update, flat};

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
            let direction = operator.direction_input().map(|input| call.inputs[input]);
            rule.step_along(&scalars, call.inputs[1], direction, &mut call.outputs);
        };
        Some(Kernel::per_image(run).outputs(&vec![Kind::PerImage; states]).split(Split::Elements))
    }
}

impl Lower for Direction {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Direction, panels: Some(PanelUse::Update) };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shape @ [rows, columns] = flat(site.shapes[0]);
        let (panels, steps, operator) = (site.panels, self.steps(), self.update());
        let formulas = pointwise::Program::of_all(&self.optimizer.direction()?)?;
        let run = move |call: &mut Call| {
            let scalars = scalars(&operator, &call.inputs);
            let (x, scratch) = call.scratch.split_at_mut(rows * columns);
            {
                let mut tensors: SmallVec<[&[f32]; 8]> = call.inputs[..operator.scalars_input()].into();
                if let Some(panels) = panels {
                    // Of what is kept, the rule's only slot is read.
                    let slot = &mut scratch[..rows * columns];
                    panels.unpack(tensors[2], slot);
                    tensors[2] = slot;
                }
                let numbers = scalars.iter().map(|&scalar| Input::Value(scalar));
                let inputs: SmallVec<[Input; 16]> = tensors.into_iter().map(Input::Values).chain(numbers).collect();
                formulas.run(&inputs, x);
            }
            orthogonalize(shape, steps, x, call.outputs[0], scratch);
        };
        let scratch = rows * columns + orthogonal::scratch_len(rows, columns);
        Some(Kernel::per_image(run).scratch(move |_| scratch).split(Split::Once))
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
        let direction = operator.direction_input().map(|input| call.inputs[input]);
        let (gradient, outputs) = (call.inputs[1], &mut call.outputs);
        update::panels::by_gradient(&rule, panels, columns, gradient, direction, &scalars, outputs, call.scratch);
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
