//! Products of tensors with a layer's kernel, and their gradients.

use super::{Lower, PanelUse, ROWS, Role, Scheduling, Site, rows_scratch};
use crate::{
    backend::cpu::{
        kernel::{Call, Kernel, Kind, Matrix, Packing, Split},
        kernels::{
            elementwise,
            gemm::{self, Epilogue, Mat, NR, panels::Panels},
        },
    },
    graph::ops::{self, flat},
};

/// One row per image: a tile would stream the whole kernel matrix through the cache for a few rows, so such products
/// run on the whole batch, shared by columns or rows of the result.
fn is_wide(site: &Site) -> bool {
    site.shapes[0].len() == 2
}

impl Lower for ops::Dense {
    const SCHEDULING: Scheduling = Scheduling { panels: Some(PanelUse::Layer), ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shapes = site.shapes;
        let [rows, width] = flat(shapes[0]);
        if is_wide(site) {
            return Some(wide(rows, width, shapes[1][1], site.panels));
        }
        let (n, operands) = (shapes[1][1], shapes.len());
        let run = move |call: &mut Call| {
            let (m, a) = (call.inputs[0].len() / width, Mat::rows(call.inputs[0], width));
            let bias = (operands == 3).then(|| call.inputs[2]);
            let residual = call.inputs.get(operands).map(|residual| (*residual, n));
            let epilogue = Epilogue { bias, residual, accumulate: false };
            let [out, copy @ ..] = &mut call.outputs[..] else { return };
            let copy = copy.first_mut().map_or(&mut [][..], |copy| copy);
            gemm::gemm_packed_twice(m, n, width, a, call.inputs[1], out, n, copy, &epilogue);
        };
        let kernel = Kernel::per_image(run).adds().streams(n.is_multiple_of(NR));
        Some(kernel.packed(Packing { input: 1, k: width, n, groups: 1, matrix: Matrix::Rows }))
    }
}

/// [`ops::Dense`] of one row per image.
fn wide(rows: usize, width: usize, columns: usize, panels: Option<Panels>) -> Kernel {
    let run = move |call: &mut Call| {
        let (n, part) = (call.part.len(), call.part.clone());
        let [a, b] = [call.inputs[0], call.inputs[1]];
        if let Some(panels) = panels {
            panels.product(rows, a, b, part.clone(), call.outputs[0], call.scratch);
        } else {
            let (a, b) = (Mat::rows(a, width), Mat::rows(&b[part.start..], columns));
            gemm::gemm(rows, n, width, a, b, call.outputs[0], n, false, call.scratch);
        }
        if let Some(bias) = call.inputs.get(2) {
            elementwise::add_rows_in_place(call.outputs[0], &bias[part]);
        }
    };
    let scratch = move |n| match panels {
        Some(_) => Panels::product_scratch_len(rows),
        None => gemm::scratch_len(rows, n, width),
    };
    Kernel::per_image(run).scratch(scratch).split(Split::Columns { rows, columns })
}

impl Lower for ops::DenseInputGradient {
    const SCHEDULING: Scheduling = Scheduling { panels: Some(PanelUse::LayerGradient), ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shapes = site.shapes;
        let [rows, width] = flat(shapes[0]);
        if is_wide(site) {
            return Some(wide_input_gradient(rows, width, shapes[1][0], site.panels));
        }
        let (n, operands) = (shapes[1][0], shapes.len());
        let run = move |call: &mut Call| {
            let (m, a) = (call.inputs[0].len() / width, Mat::rows(call.inputs[0], width));
            let residual = call.inputs.get(operands).map(|residual| (*residual, n));
            let epilogue = Epilogue { residual, ..Epilogue::default() };
            gemm::gemm_packed(m, n, width, a, call.inputs[1], call.outputs[0], n, &epilogue);
        };
        Some(Kernel::per_image(run).adds().packed(Packing {
            input: 1,
            k: width,
            n,
            groups: 1,
            matrix: Matrix::Transposed,
        }))
    }
}

/// [`ops::DenseInputGradient`] of one row per image.
fn wide_input_gradient(rows: usize, width: usize, columns: usize, panels: Option<Panels>) -> Kernel {
    let run = move |call: &mut Call| {
        let (n, part) = (call.part.len(), call.part.clone());
        let [a, b] = [call.inputs[0], call.inputs[1]];
        if let Some(panels) = panels {
            return panels.transposed_product(rows, a, b, part, call.outputs[0], call.scratch);
        }
        let (a, b) = (Mat::rows(a, width), Mat::transposed(&b[part.start * width..], width));
        gemm::gemm(rows, n, width, a, b, call.outputs[0], n, false, call.scratch);
    };
    let scratch = move |n| match panels {
        Some(panels) => panels.transposed_product_scratch_len(rows, n),
        None => gemm::scratch_len(rows, n, width),
    };
    Kernel::per_image(run).scratch(scratch).split(Split::Columns { rows, columns })
}

impl Lower for ops::DenseKernelGradient {
    const SCHEDULING: Scheduling = Scheduling { role: Role::KernelGradient, ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shapes = site.shapes;
        let ([rows, width], n) = (flat(shapes[0]), flat(shapes[1])[1]);
        if is_wide(site) {
            return Some(wide_kernel_gradient(rows, width, n));
        }
        Some(
            Kernel::per_image(move |call| {
                let k = call.inputs[0].len() / width;
                let (a, b) = (Mat::transposed(call.inputs[0], width), Mat::rows(call.inputs[1], n));
                gemm::gemm(width, n, k, a, b, call.outputs[0], n, !call.begin, call.scratch);
            })
            .outputs(&[Kind::Sum])
            .begins()
            .scratch(rows_scratch(shapes[0], move |k| gemm::scratch_len(width, n, k))),
        )
    }
}

/// [`ops::DenseKernelGradient`] of one row per image.
fn wide_kernel_gradient(rows: usize, width: usize, columns: usize) -> Kernel {
    let run = move |call: &mut Call| {
        let a = Mat::transposed(&call.inputs[0][call.part.start..], width);
        let b = Mat::rows(call.inputs[1], columns);
        let (m, c) = (call.part.len(), &mut call.outputs[0]);
        gemm::gemm(m, columns, rows, a, b, c, columns, false, call.scratch);
    };
    let kernel = Kernel::per_image(run).scratch(move |m| gemm::scratch_len(m, columns, rows));
    kernel.split(Split::Rows { rows: width, columns, together: ROWS })
}
