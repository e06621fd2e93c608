//! Products with layers' kernels, and the gradients of these.

use super::{super::Parameter, Does, Matrix, Memory, Sketcher, WIDEST_TILE, piece, units};
use crate::backend::cuda::compile::operations::Operation;

impl Sketcher<'_> {
    /// Opens a product `[m, n]`; the text of its declaration.
    fn open(&mut self, [m, n]: [usize; 2], transposed: [bool; 2]) -> (usize, String) {
        let [um, un] = units(m, n);
        let [a, b] = transposed;
        let number = self.products;
        self.products += 1;
        (number, format!("Product<{m}, {n}, {a}, {b}, {um}, {un}> q{number}; q{number}.clear();"))
    }

    fn multiply(&mut self, number: usize, declaration: &mut String, k: usize, a: Matrix, b: Matrix) {
        let declared = std::mem::take(declaration);
        let space = if declared.is_empty() { "" } else { " " };
        let text = format!(
            "{declared}{space}q{number}.template add<{k}, {}, {}>({}, {});",
            a.pitch,
            b.pitch,
            a.text(),
            b.text()
        );
        self.phase(Does::Multiplies, text, vec![Memory::Buffer(a.buffer), Memory::Buffer(b.buffer)], Vec::new());
    }

    /// A product of rows with a kernel or its transpose: `out[rows, n] = x[rows, k] w`.
    fn product(&mut self, operation: &Operation, [k, n]: [usize; 2], transposed: bool) {
        let (rows, x, kernel, out) =
            (self.sketch.tile_rows, operation.inputs[0], operation.inputs[1], operation.outputs[0]);
        let bias = operation.inputs.get(2).map(|&id| self.parameter(Parameter::Exact(id)));
        let wanted = self.reads.get(&out).is_some_and(|&reads| reads > 0) && n <= WIDEST_TILE;
        let (wide, deep) = (piece(n), piece(k));
        // The width of the kernel as it lies in memory.
        let width = if transposed { k } else { n };
        let mut target = None;
        for column in (0..n).step_by(wide) {
            let (number, mut declaration) = self.open([rows, wide], [false, transposed]);
            for depth in (0..k).step_by(deep) {
                let a = self.columns(x, depth, deep);
                let b = if transposed {
                    self.weights(kernel, width, [column, depth], [wide, deep])
                } else {
                    self.weights(kernel, width, [depth, column], [deep, wide])
                };
                self.multiply(number, &mut declaration, deep, a, b);
            }
            if column + wide == n {
                self.done_with(&operation.inputs[..1], 0);
            }
            let own = if wanted {
                let buffer = *target.get_or_insert_with(|| {
                    self.sketch.buffers.push(2 * rows * (n + 8));
                    self.sketch.buffers.len() - 1
                });
                Matrix { buffer, pitch: n + 8, column }
            } else {
                Matrix { buffer: self.buffer(rows, wide), pitch: wide + 8, column: 0 }
            };
            let bias = match bias {
                Some(bias) => (true, format!("p{bias} + {column}")),
                None => (false, "nullptr".to_owned()),
            };
            let text = format!("q{number}.finish(ToTile<{}, {}>{{{}, {}}});", own.pitch, bias.0, own.text(), bias.1);
            self.phase(Does::Other, text, Vec::new(), vec![Memory::Buffer(own.buffer)]);
            if !wanted {
                self.store(out, column, own.buffer, wide);
                if let Some(pieces) = &mut self.pieces {
                    pieces.insert((out, [column, wide]), own.buffer);
                }
            }
        }
        if let Some(buffer) = target {
            self.tiles.insert(out, (buffer, n));
            self.keep(out);
        }
    }

    pub(super) fn dense(&mut self, operation: &Operation, [rows, k, n]: [usize; 3]) {
        self.sketch.flops += 2 * (rows * k * n) as u64;
        self.product(operation, [k, n], false);
    }

    pub(super) fn dense_input_gradient(&mut self, operation: &Operation, [rows, k, n]: [usize; 3]) {
        self.sketch.flops += 2 * (rows * k * n) as u64;
        self.product(operation, [n, k], true);
    }

    pub(super) fn dense_kernel_gradient(&mut self, operation: &Operation, [rows, k, n]: [usize; 3]) {
        self.sketch.flops += 2 * (rows * k * n) as u64;
        let (tile, x, dy) = (self.sketch.tile_rows, operation.inputs[0], operation.inputs[1]);
        let sum = self.sum(k * n, operation.outputs[..1].to_vec());
        let bias = operation.outputs.get(1).map(|&id| self.sum(n, vec![id]));
        let (high, wide) = (piece(k), piece(n));
        for column in (0..n).step_by(wide) {
            let b = self.columns(dy, column, wide);
            if let Some(bias) = bias {
                self.column_sums(bias, column, wide, b);
            }
            for row in (0..k).step_by(high) {
                let a = self.columns(x, row, high);
                let (number, mut declaration) = self.open([high, wide], [true, false]);
                self.multiply(number, &mut declaration, tile, a, b);
                let text = format!("q{number}.finish(ToSum<{n}>{{sums + {}, first}});", sum + row * n + column);
                self.phase(Does::Other, text, Vec::new(), Vec::new());
            }
        }
        self.done_with(&operation.inputs, 0);
    }

    fn column_sums(&mut self, sum: usize, column: usize, width: usize, of: Matrix) {
        let rows = self.sketch.tile_rows;
        let text =
            format!("sum_columns<{rows}, {width}, {}>(sums + {}, first, {});", of.pitch, sum + column, of.text());
        self.phase(Does::Other, text, vec![Memory::Buffer(of.buffer)], Vec::new());
    }

    pub(super) fn sum_rows(&mut self, operation: &Operation, width: usize) {
        let sum = self.sum(width, operation.outputs.clone());
        let wide = piece(width);
        for column in (0..width).step_by(wide) {
            let of = self.columns(operation.inputs[0], column, wide);
            self.column_sums(sum, column, wide, of);
        }
        self.done_with(&operation.inputs, 0);
    }
}
