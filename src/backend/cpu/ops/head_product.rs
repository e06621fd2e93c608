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

/// The products of the heads, as matrices within the operands.
#[derive(Debug, Clone, Copy)]
pub struct Strided {
    heads: usize,
    /// Rows, columns and inner length of each product as it is computed.
    lengths: [usize; 3],
    /// Of its operands, from one head, row and column to the next.
    strides: [[usize; 3]; 2],
    /// Which operand is on the left.
    order: [usize; 2],
    /// Elements of the result from one head to the next, and from one row to the next.
    next: [usize; 2],
}

fn matrix(data: &[f32], [head, row_stride, col_stride]: [usize; 3], index: usize) -> Mat<'_> {
    Mat { data: &data[index * head..], row_stride, col_stride }
}

impl Strided {
    /// Of operands and a result of these shapes, three axes each.
    pub fn new(product: &HeadProduct, [a, b, c]: [&[usize]; 3]) -> Self {
        let [heads, rows, inner, columns] = product.lengths(&[a, b]);
        let Roles { head, row, column, inner: inner_axis } = product.roles();
        let strides = |axes: Axes, shape: &[usize], names: [char; 3]| {
            names.map(|name| position(axes, name).map_or(0, |axis| shape[axis + 1..].iter().product()))
        };
        let a = strides(product.a, a, [head, row, inner_axis]);
        let b = strides(product.b, b, [head, inner_axis, column]);
        let c = strides(product.c, c, [head, row, column]);
        let transposed = |[head, row, column]: [usize; 3]| [head, column, row];
        // A product writes whole rows: if the result's rows are its columns, it is the transposed one.
        let ([m, n], strides, order) = match c {
            [_, _, 1] => ([rows, columns], [a, b], [0, 1]),
            _ => ([columns, rows], [transposed(b), transposed(a)], [1, 0]),
        };
        Self { heads, lengths: [m, n, inner], strides, order, next: [c[0], c[1].max(c[2])] }
    }

    pub fn scratch_len(&self) -> usize {
        let [m, n, inner] = self.lengths;
        gemm::scratch_len(m, n, inner)
    }

    pub fn run(&self, operands: [&[f32]; 2], to: &mut [f32], scratch: &mut [f32]) {
        let Self { heads, lengths: [m, n, inner], strides: [a, b], order, next: [next, ld] } = *self;
        let [left, right] = order.map(|operand| operands[operand]);
        for head in 0..heads {
            let c = &mut to[head * next..];
            gemm::gemm(m, n, inner, matrix(left, a, head), matrix(right, b, head), c, ld, false, scratch);
        }
    }
}

impl Lower for HeadProduct {
    const SCHEDULING: Scheduling = Scheduling { role: Role::OfParameters, ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shapes = site.shapes;
        let product = Strided::new(self, [shapes[0], shapes[1], &self.output_shapes(shapes)[0]]);
        let scratch = product.scratch_len();
        Some(
            Kernel::per_image(move |call| {
                product.run([call.inputs[0], call.inputs[1]], call.outputs[0], call.scratch);
            })
            .scratch(move |_| scratch),
        )
    }
}
