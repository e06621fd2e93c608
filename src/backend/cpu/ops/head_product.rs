//! Products of parameters, or of their gradients, for each head.

use super::{Lower, Role, Scheduling, Site};
use crate::{
    backend::cpu::{
        kernel::Kernel,
        kernels::gemm::{self, Mat},
    },
    graph::{
        Operation,
        ops::{Axes, HeadProduct, Roles, position},
    },
};

impl Lower for HeadProduct {
    const SCHEDULING: Scheduling = Scheduling { role: Role::OfParameters, ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shapes = site.shapes;
        let [heads, rows, inner, columns] = self.lengths(shapes);
        let Roles { head, row, column, inner: inner_axis } = self.roles();
        let output = &self.output_shapes(shapes)[0][..];
        let strides = |axes: Axes, shape: &[usize], names: [char; 3]| {
            names.map(|name| position(axes, name).map_or(0, |axis| shape[axis + 1..].iter().product()))
        };
        let a = strides(self.a, shapes[0], [head, row, inner_axis]);
        let b = strides(self.b, shapes[1], [head, inner_axis, column]);
        let c = strides(self.c, output, [head, row, column]);
        fn matrix(data: &[f32], [head, row_stride, col_stride]: [usize; 3], index: usize) -> Mat<'_> {
            Mat { data: &data[index * head..], row_stride, col_stride }
        }
        let transposed = |[head, row, column]: [usize; 3]| [head, column, row];
        // A product writes whole rows: if the result's rows are its columns, it is the transposed one.
        let ((m, n), (a, b), order) = match c {
            [_, _, 1] => ((rows, columns), (a, b), [0, 1]),
            _ => ((columns, rows), (transposed(b), transposed(a)), [1, 0]),
        };
        let [next, ld] = [c[0], c[1].max(c[2])];
        Some(
            Kernel::per_image(move |call| {
                let [left, right] = order.map(|input| call.inputs[input]);
                for head in 0..heads {
                    let c = &mut call.outputs[0][head * next..];
                    gemm::gemm(m, n, inner, matrix(left, a, head), matrix(right, b, head), c, ld, false, call.scratch);
                }
            })
            .scratch(move |_| gemm::scratch_len(m, n, inner)),
        )
    }
}
