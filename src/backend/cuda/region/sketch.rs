//! From operations to phases on tiles.

use std::collections::HashMap;

use super::{Parameter, Sum, WARPS};
use crate::backend::cuda::{
    compile::operations::{AfterNorm, Id, Kind, Operation, Operations, Origin, Pointwise, Sum as Where},
    layout::Layout,
};
use crate::graph::{expression::Expression, ops};

/// Columns of a product that are done at once, and of its depth that are loaded at once: with the accumulators of 144 rows by 128
/// columns a thread has 48 of its registers in use.
pub const PIECE: usize = 128;

/// Wider tensors are no tiles: products read and write them piece by piece.
pub const WIDEST_TILE: usize = 256;

/// What a phase touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// A buffer in shared memory.
    Buffer(usize),
    /// A tensor of the program.
    Tensor(Id),
}

/// What a block does between two barriers, or less.
#[derive(Debug, Clone)]
pub struct Phase {
    /// A statement, in which buffer 3 is `t3` and the kernel's parameter 5 is `p5`.
    pub text: String,
    /// The operation that it is part of.
    pub operation: String,
    pub reads: Vec<Memory>,
    pub writes: Vec<Memory>,
    pub does: Does,
}

/// What kind of phase it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Copies to shared memory that are on their way when the phase is over.
    Copies,
    /// A product, beside which copies are made.
    Multiplies,
    Other,
}

/// The phases of a region, for tiles of so many rows.
#[derive(Debug, Default)]
pub struct Sketch {
    pub tile_rows: usize,
    /// Bytes of each.
    pub buffers: Vec<usize>,
    pub phases: Vec<Phase>,
    pub parameters: Vec<Parameter>,
    pub sums: Vec<Sum>,
    /// Bodies of functions of `x0`, which the text calls `F0`, `F1`, ...
    pub functions: Vec<String>,
    pub flops: u64,
}

/// The largest multiple of 16 that divides a width and is at most `PIECE`.
pub fn piece(width: usize) -> usize {
    (1..=PIECE / 16).rev().map(|count| 16 * count).find(|&piece| width.is_multiple_of(piece)).unwrap_or(16)
}

/// `[UM, UN]` of a product `[m, n]`: what the warps of a block do in the least time, which is that of the tensor cores or
/// of shared memory. A sub-core does a 16x8x16 product in 6.4 clocks and reads 32 bytes in one.
pub fn units(m: usize, n: usize) -> [usize; 2] {
    let multiples =
        |of: usize, most: usize| (1..=most / 16).map(|count| 16 * count).filter(move |&unit| of.is_multiple_of(unit));
    let all = multiples(m, 64).flat_map(|um| multiples(n, 64).map(move |un| [um, un]));
    let passes = |[um, un]: [usize; 2]| (m / um * (n / un)).div_ceil(WARPS);
    let cost = |unit: [usize; 2]| {
        let [um, un] = unit;
        // Tenths of clocks for a depth of 16.
        let products = (um / 16) * (un / 8);
        let bytes = (un / 8) * 256 + (um / 16) * 512;
        passes(unit) * (64 * products).max(10 * bytes / 32)
    };
    let fits = |unit: &[usize; 2]| passes(*unit) * unit[0] * unit[1] <= 64 * 32;
    all.filter(fits).min_by_key(|&unit| (cost(unit), std::cmp::Reverse(unit[0] * unit[1]))).unwrap_or([16, 16])
}

/// Makes a sketch of operations that [`form`](super::form) has found fit for it.
pub fn sketch(operations: &Operations, layout: &Layout, members: &[usize], rows: usize, tile_rows: usize) -> Sketch {
    let mut reads: HashMap<Id, usize> = HashMap::new();
    for &member in members {
        for &input in &operations.list[member].inputs {
            *reads.entry(input).or_default() += 1;
        }
    }
    let outside = |id: Id| leaves(operations, members, id);
    let sketch = Sketch { tile_rows, ..Sketch::default() };
    let mut sketcher = Sketcher {
        operations,
        layout,
        rows,
        sketch,
        tiles: HashMap::new(),
        reads,
        outside: &outside,
        products: 0,
        name: String::new(),
    };
    for &member in members {
        sketcher.operation(&operations.list[member]);
    }
    sketcher.sketch
}

/// Whether a tensor is wanted outside of these operations: by others, as a whole that others are columns of, or as a result.
pub fn leaves(operations: &Operations, members: &[usize], id: Id) -> bool {
    let root = |id: Id| match operations.tensors[id].origin {
        Origin::Columns { of, .. } => of,
        _ => id,
    };
    let read = |(index, operation): (usize, &Operation)| {
        !members.contains(&index) && operation.inputs.iter().any(|&input| root(input) == root(id))
    };
    operations.list.iter().enumerate().any(read)
        || [operations.logits, operations.loss].contains(&id)
        || operations.gradients.iter().flatten().any(|&gradient| root(gradient) == root(id))
}

struct Sketcher<'a> {
    operations: &'a Operations,
    layout: &'a Layout,
    rows: usize,
    sketch: Sketch,
    /// Tensors that lie in shared memory, and their widths.
    tiles: HashMap<Id, (usize, usize)>,
    /// How often each will still be read.
    reads: HashMap<Id, usize>,
    outside: &'a dyn Fn(Id) -> bool,
    products: usize,
    name: String,
}

/// A matrix in shared memory: elements from row to row, and where it begins.
#[derive(Clone, Copy)]
struct Matrix {
    buffer: usize,
    pitch: usize,
    column: usize,
}

impl Matrix {
    fn text(self) -> String {
        match self.column {
            0 => format!("t{}", self.buffer),
            column => format!("t{} + {column}", self.buffer),
        }
    }
}

impl Sketcher<'_> {
    fn operation(&mut self, operation: &Operation) {
        self.name = operation.name.clone();
        match operation.kind {
            Kind::Dense { rows, k, n, .. } => self.dense(operation, [rows, k, n]),
            Kind::DenseInputGradient { rows, k, n } => self.dense_input_gradient(operation, [rows, k, n]),
            Kind::DenseKernelGradient { rows, k, n, .. } => self.dense_kernel_gradient(operation, [rows, k, n]),
            Kind::SumRows { width, .. } => self.sum_rows(operation, width),
            Kind::LayerNorm { width, epsilon, residual, .. } => self.layer_norm(operation, width, epsilon, residual),
            Kind::LayerNormGradient { width, .. } => self.layer_norm_gradient(operation, width),
            Kind::Pointwise(pointwise) => self.pointwise(operation, pointwise),
            Kind::PointwiseGradient(pointwise) => self.pointwise_gradient(operation, pointwise),
            Kind::Add { .. } => self.add(operation),
            Kind::BatchMoments { channels, .. } => self.batch_moments(operation, channels),
            Kind::BatchNorm { channels, epsilon, then, .. } => self.batch_norm(operation, channels, epsilon, then),
            Kind::BatchNormSums { channels, epsilon, activation, .. } => {
                self.batch_norm_sums(operation, channels, epsilon, activation);
            }
            Kind::BatchNormGradient { channels, epsilon, share, activation, .. } => {
                self.batch_norm_gradient(operation, channels, [epsilon, share], activation);
            }
            _ => {}
        }
    }

    fn buffer(&mut self, rows: usize, width: usize) -> usize {
        self.sketch.buffers.push(2 * rows * (width + 8));
        self.sketch.buffers.len() - 1
    }

    fn phase(&mut self, does: Does, text: String, reads: Vec<Memory>, writes: Vec<Memory>) {
        let operation = self.name.clone();
        self.sketch.phases.push(Phase { text, operation, reads, writes, does });
    }

    /// The number of a parameter of the kernel.
    fn parameter(&mut self, parameter: Parameter) -> usize {
        let known = self.sketch.parameters.iter().position(|known| *known == parameter);
        known.unwrap_or_else(|| {
            self.sketch.parameters.push(parameter);
            self.sketch.parameters.len() - 1
        })
    }

    fn function(&mut self, expression: &Expression) -> String {
        let body = expression.cuda();
        let known = self.sketch.functions.iter().position(|known| *known == body);
        let number = known.unwrap_or_else(|| {
            self.sketch.functions.push(body);
            self.sketch.functions.len() - 1
        });
        format!("F{number}()")
    }

    fn dropout(&mut self, layer: Option<ops::Dropout>) -> String {
        match layer.filter(|layer| layer.rate > 0.0) {
            Some(layer) => {
                let number = self.parameter(Parameter::Dropout(layer));
                format!("d{number}")
            }
            None => "Whole()".to_owned(),
        }
    }

    fn stride(&self, id: Id, width: usize) -> usize {
        stride(self.operations, self.layout, id, width)
    }

    fn width(&self, id: Id) -> usize {
        self.operations.tensors[id].elements / self.rows
    }

    /// Columns of a tensor of rows on their way to a new buffer.
    fn load(&mut self, id: Id, column: usize, width: usize) -> usize {
        let (rows, stride) = (self.sketch.tile_rows, self.stride(id, self.width(id)));
        let (buffer, at) = (self.buffer(rows, width), self.parameter(Parameter::Activation(id)));
        let text = format!("load_tile<{rows}, {width}>(t{buffer}, p{at} + row * {stride} + {column}, {stride}, here);");
        self.phase(Does::Copies, text, vec![Memory::Tensor(id)], vec![Memory::Buffer(buffer)]);
        buffer
    }

    /// Part of a layer's kernel on its way to a new buffer.
    fn weights(&mut self, id: Id, n: usize, [row, column]: [usize; 2], [rows, width]: [usize; 2]) -> Matrix {
        let stride = self.stride(id, n);
        let (buffer, at) = (self.buffer(rows, width), self.parameter(Parameter::Activation(id)));
        let start = row * stride + column;
        let text = format!("load_tile<{rows}, {width}>(t{buffer}, p{at} + {start}, {stride}, {rows});");
        self.phase(Does::Copies, text, vec![Memory::Tensor(id)], vec![Memory::Buffer(buffer)]);
        Matrix { buffer, pitch: width + 8, column: 0 }
    }

    /// A tensor that an operation reads as a whole.
    fn tile(&mut self, id: Id) -> usize {
        if let Some(&(buffer, _)) = self.tiles.get(&id) {
            return buffer;
        }
        let width = self.width(id);
        let buffer = self.load(id, 0, width);
        self.tiles.insert(id, (buffer, width));
        buffer
    }

    /// Columns of a tensor that a product reads: of a tile, or of a piece that is loaded for it.
    fn columns(&mut self, id: Id, column: usize, width: usize) -> Matrix {
        let all = self.width(id);
        if self.tiles.contains_key(&id) || all <= PIECE {
            return Matrix { buffer: self.tile(id), pitch: all + 8, column };
        }
        Matrix { buffer: self.load(id, column, width), pitch: width + 8, column: 0 }
    }

    /// Counts the reads of an operation as done, and tells the tiles of inputs `[rows, width]` that nothing reads after it.
    fn done_with(&mut self, inputs: &[Id], width: usize) -> Vec<usize> {
        let mut free = Vec::new();
        for id in inputs {
            let Some(left) = self.reads.get_mut(id) else { continue };
            *left -= 1;
            if *left == 0
                && let Some(&(buffer, of)) = self.tiles.get(id)
                && of == width
            {
                free.push(buffer);
            }
        }
        free
    }

    /// The tile that an operation writes a tensor to: one that it has read last, or a new one.
    fn result(&mut self, id: Id, width: usize, free: &mut Vec<usize>) -> usize {
        let buffer = free.pop().unwrap_or_else(|| self.buffer(self.sketch.tile_rows, width));
        self.tiles.retain(|_, (other, _)| *other != buffer);
        self.tiles.insert(id, (buffer, width));
        buffer
    }

    /// Writes a tile to its tensor, if that is wanted outside.
    fn keep(&mut self, id: Id) {
        if !(self.outside)(id) {
            return;
        }
        let (buffer, width) = self.tiles[&id];
        self.store(id, 0, buffer, width);
    }

    fn store(&mut self, id: Id, column: usize, buffer: usize, width: usize) {
        let (rows, stride) = (self.sketch.tile_rows, self.stride(id, self.width(id)));
        let at = self.parameter(Parameter::Activation(id));
        let text =
            format!("store_tile<{rows}, {width}>(p{at} + row * {stride} + {column}, {stride}, t{buffer}, here);");
        self.phase(Does::Other, text, vec![Memory::Buffer(buffer)], vec![Memory::Tensor(id)]);
    }

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
            }
        }
        if let Some(buffer) = target {
            self.tiles.insert(out, (buffer, n));
            self.keep(out);
        }
    }

    fn dense(&mut self, operation: &Operation, [rows, k, n]: [usize; 3]) {
        self.sketch.flops += 2 * (rows * k * n) as u64;
        self.product(operation, [k, n], false);
    }

    fn dense_input_gradient(&mut self, operation: &Operation, [rows, k, n]: [usize; 3]) {
        self.sketch.flops += 2 * (rows * k * n) as u64;
        self.product(operation, [n, k], true);
    }

    /// A sum of the blocks', and where it begins in a block's.
    fn sum(&mut self, elements: usize, outputs: Vec<Id>) -> usize {
        let start = self.sketch.sums.iter().map(|sum| sum.elements).sum();
        self.sketch.sums.push(Sum { elements, outputs });
        self.parameter(Parameter::Sums);
        start
    }

    fn dense_kernel_gradient(&mut self, operation: &Operation, [rows, k, n]: [usize; 3]) {
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

    fn sum_rows(&mut self, operation: &Operation, width: usize) {
        let sum = self.sum(width, operation.outputs.clone());
        let wide = piece(width);
        for column in (0..width).step_by(wide) {
            let of = self.columns(operation.inputs[0], column, wide);
            self.column_sums(sum, column, wide, of);
        }
        self.done_with(&operation.inputs, 0);
    }

    fn layer_norm(&mut self, operation: &Operation, width: usize, epsilon: f32, residual: Option<Pointwise>) {
        let (inputs, outputs, rows) = (&operation.inputs, &operation.outputs, self.sketch.tile_rows);
        let x = self.tile(inputs[0]);
        let b = residual.map(|_| self.tile(inputs[3]));
        let drop = self.dropout(residual.and_then(|residual| residual.dropout));
        let [gamma, beta] = [1, 2].map(|input| self.parameter(Parameter::Exact(inputs[input])));
        let [mean, rstd] = [1, 2].map(|output| self.parameter(Parameter::Exact(outputs[output])));
        let mut free = self.done_with(inputs, width);
        let sum = residual.map(|_| self.result(outputs[3], width, &mut free));
        let y = self.result(outputs[0], width, &mut free);
        let name = |tile: Option<usize>| tile.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text = format!(
            "norm<{rows}, {width}, {}>(t{y}, {}, t{x}, {}, {drop}, p{gamma}, p{beta}, {epsilon:e}f, p{mean} + row, p{rstd} + row, row, here);",
            residual.is_some(),
            name(sum),
            name(b)
        );
        let reads = [Some(x), b].into_iter().flatten().map(Memory::Buffer).collect();
        let written = [Some(y), sum].into_iter().flatten().map(Memory::Buffer);
        let writes = written.chain([1, 2].map(|output| Memory::Tensor(outputs[output]))).collect();
        self.phase(Does::Other, text, reads, writes);
        if residual.is_some() {
            self.keep(outputs[3]);
        }
        self.keep(outputs[0]);
    }

    fn layer_norm_gradient(&mut self, operation: &Operation, width: usize) {
        let (inputs, outputs, rows) = (&operation.inputs, &operation.outputs, self.sketch.tile_rows);
        let [dy, x] = [0, 1].map(|input| self.tile(inputs[input]));
        let added = inputs.get(5).map(|&id| self.tile(id));
        let [gamma, mean, rstd] = [2, 3, 4].map(|input| self.parameter(Parameter::Exact(inputs[input])));
        let sum = self.sum(2 * width, outputs[1..3].to_vec());
        // [WARPS, 2, width] floats.
        self.sketch.buffers.push(WARPS * 2 * width * size_of::<f32>());
        let sums = self.sketch.buffers.len() - 1;
        let mut free = self.done_with(inputs, width);
        let dx = self.result(outputs[0], width, &mut free);
        let name = added.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text = format!(
            "norm_gradient<{rows}, {width}>(t{dx}, t{dy}, t{x}, {name}, p{gamma}, p{mean} + row, p{rstd} + row, \
             reinterpret_cast<float*>(t{sums}), sums + {sum}, first, here);"
        );
        let tiles = [Some(dy), Some(x), added].into_iter().flatten().map(Memory::Buffer);
        let reads = tiles.chain([3, 4].map(|input| Memory::Tensor(inputs[input]))).collect();
        self.phase(Does::Other, text, reads, vec![Memory::Buffer(dx), Memory::Buffer(sums)]);
        self.keep(outputs[0]);
    }

    fn pointwise(&mut self, operation: &Operation, Pointwise { activation, dropout }: Pointwise) {
        let (inputs, output, rows) = (&operation.inputs, operation.outputs[0], self.sketch.tile_rows);
        let width = self.width(output);
        let x = self.tile(inputs[0]);
        let residual = inputs.get(1).map(|&id| self.tile(id));
        let f = activation.map_or("Same()".to_owned(), |activation| self.function(&activation.expression()));
        let drop = self.dropout(dropout);
        let mut free = self.done_with(inputs, width);
        let y = self.result(output, width, &mut free);
        let name = residual.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text = format!("pointwise<{rows}, {width}>(t{y}, t{x}, {name}, {f}, {drop}, row, here);");
        let reads = [Some(x), residual].into_iter().flatten().map(Memory::Buffer).collect();
        self.phase(Does::Other, text, reads, vec![Memory::Buffer(y)]);
        self.keep(output);
    }

    fn pointwise_gradient(&mut self, operation: &Operation, Pointwise { activation, dropout }: Pointwise) {
        let (inputs, output, rows) = (&operation.inputs, operation.outputs[0], self.sketch.tile_rows);
        let width = self.width(output);
        let dy = self.tile(inputs[0]);
        let z = activation.map(|_| self.tile(inputs[1]));
        let slope =
            activation.map_or("One()".to_owned(), |activation| self.function(&activation.expression().derivative(0)));
        let drop = self.dropout(dropout);
        let mut free = self.done_with(inputs, width);
        let dz = self.result(output, width, &mut free);
        let name = z.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text = format!("pointwise_gradient<{rows}, {width}>(t{dz}, t{dy}, {name}, {slope}, {drop}, row, here);");
        let reads = [Some(dy), z].into_iter().flatten().map(Memory::Buffer).collect();
        self.phase(Does::Other, text, reads, vec![Memory::Buffer(dz)]);
        self.keep(output);
    }

    fn add(&mut self, operation: &Operation) {
        let (inputs, output, rows) = (&operation.inputs, operation.outputs[0], self.sketch.tile_rows);
        let width = self.width(output);
        let [a, b] = [0, 1].map(|input| self.tile(inputs[input]));
        let mut free = self.done_with(inputs, width);
        let y = self.result(output, width, &mut free);
        let text = format!("add<{rows}, {width}>(t{y}, t{a}, t{b});");
        self.phase(Does::Other, text, vec![Memory::Buffer(a), Memory::Buffer(b)], vec![Memory::Buffer(y)]);
        self.keep(output);
    }
}

/// Batch normalisation: what is known of the whole batch comes from tensors, and what is summed over it goes to
/// the blocks' sums.
impl Sketcher<'_> {
    /// Room for two sums of each thread's eight columns.
    fn parts(&mut self) -> usize {
        self.sketch.buffers.push(32 * WARPS * 16 * size_of::<f32>());
        self.sketch.buffers.len() - 1
    }

    fn exact(&mut self, ids: &[Id]) -> String {
        let numbers: Vec<String> = ids.iter().map(|&id| format!("p{}", self.parameter(Parameter::Exact(id)))).collect();
        numbers.join(", ")
    }

    /// The parameters of a norm, of which gamma and beta are read where there is an activation.
    fn normal(&mut self, gamma: Id, beta: Option<Id>, [mean, variance]: [Id; 2]) -> String {
        let gamma = self.exact(&[gamma]);
        let beta = beta.map_or("nullptr".to_owned(), |beta| self.exact(&[beta]));
        format!("{gamma}, {beta}, {}", self.exact(&[mean, variance]))
    }

    fn slope(&mut self, activation: Option<ops::Activation>) -> String {
        activation.map_or("One()".to_owned(), |activation| self.function(&activation.expression().derivative(0)))
    }

    fn batch_moments(&mut self, operation: &Operation, width: usize) {
        let (x, rows) = (self.tile(operation.inputs[0]), self.sketch.tile_rows);
        let (shift, parts) = (self.exact(&operation.inputs[1..2]), self.parts());
        let sum = self.sum(2 * width, operation.outputs.clone());
        self.done_with(&operation.inputs, 0);
        let text = format!(
            "moments<{rows}, {width}>(t{x}, {shift}, reinterpret_cast<float*>(t{parts}), sums + {sum}, first, here);"
        );
        self.phase(Does::Other, text, vec![Memory::Buffer(x)], vec![Memory::Buffer(parts)]);
    }

    fn batch_norm(&mut self, operation: &Operation, width: usize, epsilon: f32, then: AfterNorm) {
        let (inputs, output, rows) = (&operation.inputs, operation.outputs[0], self.sketch.tile_rows);
        let x = self.tile(inputs[0]);
        let residual = then.sum.map(|_| self.tile(inputs[5]));
        let added = match then.sum {
            None => 0,
            Some(Where::AfterActivation) => 1,
            Some(Where::BeforeActivation) => 2,
        };
        let normal = self.normal(inputs[1], Some(inputs[2]), [inputs[3], inputs[4]]);
        let f = then.activation.map_or("Same()".to_owned(), |activation| self.function(&activation.expression()));
        let mut free = self.done_with(inputs, width);
        let y = self.result(output, width, &mut free);
        let name = residual.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text =
            format!("batch_norm<{rows}, {width}, {added}>(t{y}, t{x}, {name}, {f}, {normal}, {epsilon:e}f, here);");
        let statistics = [3, 4].map(|input| Memory::Tensor(inputs[input]));
        let tiles = [Some(x), residual].into_iter().flatten().map(Memory::Buffer);
        self.phase(Does::Other, text, tiles.chain(statistics).collect(), vec![Memory::Buffer(y)]);
        self.keep(output);
    }

    fn batch_norm_sums(
        &mut self,
        operation: &Operation,
        width: usize,
        epsilon: f32,
        activation: Option<ops::Activation>,
    ) {
        let (inputs, rows) = (&operation.inputs, self.sketch.tile_rows);
        let [dy, x] = [0, 1].map(|input| self.tile(inputs[input]));
        // Without an activation there is no use for gamma and beta: any channel's numbers do.
        let gamma = if activation.is_some() { inputs[4] } else { inputs[2] };
        let normal = self.normal(gamma, activation.map(|_| inputs[5]), [inputs[2], inputs[3]]);
        let (slope, parts) = (self.slope(activation), self.parts());
        let sum = self.sum(2 * width, operation.outputs.clone());
        self.done_with(inputs, 0);
        let text = format!(
            "batch_norm_sums<{rows}, {width}>(t{dy}, t{x}, {slope}, {normal}, {epsilon:e}f, \
             reinterpret_cast<float*>(t{parts}), sums + {sum}, first, here);"
        );
        self.phase(Does::Other, text, vec![Memory::Buffer(dy), Memory::Buffer(x)], vec![Memory::Buffer(parts)]);
    }

    fn batch_norm_gradient(
        &mut self,
        operation: &Operation,
        width: usize,
        [epsilon, share]: [f32; 2],
        activation: Option<ops::Activation>,
    ) {
        let (inputs, output, rows) = (&operation.inputs, operation.outputs[0], self.sketch.tile_rows);
        let [dy, x] = [0, 1].map(|input| self.tile(inputs[input]));
        let normal = self.normal(inputs[2], activation.map(|_| inputs[7]), [inputs[3], inputs[4]]);
        let (slope, of_batch) = (self.slope(activation), self.exact(&inputs[5..7]));
        let mut free = self.done_with(inputs, width);
        let dx = self.result(output, width, &mut free);
        let text = format!(
            "batch_norm_gradient<{rows}, {width}>(t{dx}, t{dy}, t{x}, {slope}, {normal}, {of_batch}, {epsilon:e}f, {share:e}f, here);"
        );
        self.phase(Does::Other, text, vec![Memory::Buffer(dy), Memory::Buffer(x)], vec![Memory::Buffer(dx)]);
        self.keep(output);
    }
}

/// Elements from row to row of a tensor that is `width` wide.
pub fn stride(operations: &Operations, layout: &Layout, id: Id, width: usize) -> usize {
    match operations.tensors[id].origin {
        Origin::Parameter(index) => layout.slot(index).stride,
        Origin::Columns { stride, .. } => stride,
        _ => width,
    }
}
