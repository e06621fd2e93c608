//! Convolutions: products of gathered patches with a packed kernel, and, where each channel is by itself, sums of taps.

use super::{Lower, ROWS, Site};
use crate::{
    backend::cpu::{
        kernel::{Kernel, Kind, Matrix, Packing, Split},
        kernels::{
            depthwise,
            gemm::{self, Epilogue, Mat, gathered},
            patches::{self as gathering, Patches},
        },
    },
    graph::ops::{Conv2d, Conv2dInputGradient, Conv2dKernelGradient, ConvShape, Windows},
};

/// Elements of a kernel whose gradient is better made by rows, over the whole batch, than in a sum for each lane.
const LARGE: usize = 128 * 1024;
/// Pixels whose gradients are spread at once.
const STRIP: usize = 48;

fn patches(shape: &ConvShape) -> Patches {
    Patches { windows: shape.windows, channels: shape.channels, groups: shape.groups }
}

/// The patches of dy whose products with the turned kernel are the gradient of the input. `None` where strides leave gaps,
/// or zeros reach further than the kernel.
fn turned(shape: &ConvShape) -> Option<Patches> {
    let fits = shape.windows.iter().all(|windows| windows.stride == 1 && windows.before < windows.reach());
    let (channels, groups) = (shape.all_filters(), shape.groups);
    fits.then(|| Patches { windows: shape.windows.map(Windows::turned), channels, groups })
}

impl Lower for Conv2d {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (shape, operands) = (self.shape(site.shapes), site.shapes.len());
        let ConvShape { groups, filters, .. } = shape;
        let patches = patches(&shape);
        if shape.is_depthwise() {
            let kernel = Kernel::per_image(move |call| {
                let (x, kernel, bias) = (call.inputs[0], call.inputs[1], (operands == 3).then(|| call.inputs[2]));
                depthwise::forward(&patches.windows, groups, x, kernel, bias, call.outputs[0], call.scratch);
            });
            return Some(kernel.scratch(move |_| depthwise::scratch_len(&patches.windows)));
        }
        let (all, k) = (shape.all_filters(), shape.depth());
        let of_group = gemm::packed_len(k, filters);
        let kernel = Kernel::per_image(move |call| {
            let (x, out, m) = (call.inputs[0], &mut *call.outputs[0], call.images * patches.rows());
            for group in 0..groups {
                let from = group * filters;
                let epilogue = Epilogue {
                    bias: (operands == 3).then(|| &call.inputs[2][from..]),
                    residual: call.inputs.get(operands).map(|residual| (&residual[from..], all)),
                    accumulate: false,
                };
                let gather =
                    |rows, k, out: &mut [f32], pitch| gathering::gather(&patches, x, group, rows, k, out, pitch);
                let packed = &call.inputs[1][group * of_group..];
                gathered::product(m, filters, k, gather, packed, &mut out[from..], all, &epilogue, call.scratch);
            }
        });
        let kernel = kernel.adds().scratch(|_| gathered::PRODUCT_SCRATCH);
        Some(kernel.packed(Packing { input: 1, k, n: filters, groups, matrix: Matrix::Rows }))
    }
}

impl Lower for Conv2dInputGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (shape, operands) = (self.shape(site.shapes), site.shapes.len());
        let ConvShape { taps, own, filters, groups, .. } = shape;
        let patches = patches(&shape);
        if shape.is_depthwise() {
            let kernel = Kernel::per_image(move |call| {
                let (dy, kernel, residual) = (call.inputs[0], call.inputs[1], call.inputs.get(operands).copied());
                let (dx, scratch) = (&mut *call.outputs[0], &mut *call.scratch);
                depthwise::input_gradient(&patches.windows, groups, dy, kernel, residual, dx, scratch);
            });
            return Some(kernel.adds().scratch(move |_| depthwise::scratch_len(&patches.windows)));
        }
        let all = shape.channels;
        if let Some(turned) = turned(&shape) {
            let k = turned.depth();
            let of_group = gemm::packed_len(k, own);
            let kernel = Kernel::per_image(move |call| {
                let (dy, out, m) = (call.inputs[0], &mut *call.outputs[0], call.images * turned.rows());
                for group in 0..groups {
                    let from = group * own;
                    let residual = call.inputs.get(operands).map(|residual| (&residual[from..], all));
                    let epilogue = Epilogue { residual, ..Epilogue::default() };
                    let gather =
                        |rows, k, out: &mut [f32], pitch| gathering::gather(&turned, dy, group, rows, k, out, pitch);
                    let packed = &call.inputs[1][group * of_group..];
                    gathered::product(m, own, k, gather, packed, &mut out[from..], all, &epilogue, call.scratch);
                }
            });
            let kernel = kernel.adds().scratch(|_| gathered::PRODUCT_SCRATCH);
            return Some(kernel.packed(Packing { input: 1, k, n: own, groups, matrix: Matrix::Turned { taps } }));
        }
        let (n, all_filters) = (shape.depth(), shape.all_filters());
        let of_group = gemm::packed_len(filters, n);
        let kernel = Kernel::per_image(move |call| {
            let (dy, out, m) = (call.inputs[0], &mut *call.outputs[0], call.images * patches.rows());
            match call.inputs.get(operands) {
                Some(residual) => out.copy_from_slice(residual),
                None => out.fill(0.0),
            }
            let strip = &mut call.scratch[..STRIP * n];
            for group in 0..groups {
                let packed = &call.inputs[1][group * of_group..];
                for first in (0..m).step_by(STRIP) {
                    let rows = first..m.min(first + STRIP);
                    let a = Mat::rows(&dy[first * all_filters + group * filters..], all_filters);
                    gemm::gemm_packed(rows.len(), n, filters, a, packed, strip, n, &Epilogue::default());
                    gathering::scatter(&patches, strip, group, rows, out);
                }
            }
        });
        let kernel = kernel.adds().scratch(move |_| STRIP * n);
        Some(kernel.packed(Packing { input: 1, k: filters, n, groups, matrix: Matrix::Transposed }))
    }
}

impl Lower for Conv2dKernelGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shape = self.shape(site.shapes);
        let ConvShape { filters, groups, .. } = shape;
        let patches = patches(&shape);
        if shape.is_depthwise() {
            let kernel = Kernel::per_image(move |call| {
                let [x, dy] = [call.inputs[0], call.inputs[1]];
                depthwise::kernel_gradient(&patches.windows, groups, x, dy, call.outputs[0], call.scratch);
            });
            let kernel = kernel.scratch(move |_| depthwise::scratch_len(&patches.windows));
            return Some(kernel.outputs(&[Kind::Sum]));
        }
        let (height, all) = (shape.depth(), shape.all_filters());
        let large = height * all > LARGE;
        let kernel = Kernel::per_image(move |call| {
            let [x, dy] = [call.inputs[0], call.inputs[1]];
            let (part, accumulate) = if large { (call.part.clone(), false) } else { (0..height, !call.begin) };
            for group in 0..groups {
                let gather =
                    |rows, k, out: &mut [f32], pitch| gathering::gather(&patches, x, group, rows, k, out, pitch);
                let b = Mat::rows(&dy[group * filters..], all);
                let (k, out) = (call.images * patches.rows(), &mut call.outputs[0][group * filters..]);
                gathered::transposed_product(part.clone(), filters, k, gather, b, out, all, accumulate, call.scratch);
            }
        });
        let kernel = kernel.scratch(move |_| gathered::transposed_product_scratch_len(filters));
        Some(match large {
            true => kernel.split(Split::Rows { rows: height, columns: all, together: ROWS }),
            false => kernel.outputs(&[Kind::Sum]).begins(),
        })
    }
}
