//! From operations to phases on tiles: a file for each family of operations.

mod batch_norm;
mod images;
mod products;
mod rows;

use std::collections::HashMap;

use super::{Parameter, SLICE_WARPS, Sum, WARPS};
use crate::{
    backend::cuda::{
        compile::operations::{Id, Kind, Operation, Operations, Origin},
        layout::Layout,
    },
    graph::{expression::Expression, ops},
};

/// Columns of a product that are done at once, and of its depth that are loaded at once: with the accumulators of 144 rows by 128
/// columns a thread has 48 of its registers in use.
pub const PIECE: usize = 128;

/// Wider tensors are no tiles: products read and write them piece by piece.
pub const WIDEST_TILE: usize = 256;

/// What becomes of the pieces of wide tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    Stay,
    /// They are loaded again.
    Go,
}

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

/// What a tile has where every channel is treated alone: some channels of whole images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Of the tensors.
    pub channels: usize,
    /// Channels of a tile, a multiple of 8 that divides those.
    pub width: usize,
}

/// The phases of a region, for tiles of so many rows.
#[derive(Debug, Clone, Default)]
pub struct Sketch {
    /// Images where a tile is a slice of them.
    pub tile_rows: usize,
    /// Of images; tiles of rows have none.
    pub slice: Option<Slice>,
    /// Bytes of each.
    pub buffers: Vec<usize>,
    pub phases: Vec<Phase>,
    pub parameters: Vec<Parameter>,
    pub sums: Vec<Sum>,
    /// Bodies of functions of `x0`, which the text calls `F0`, `F1`, ...
    pub functions: Vec<String>,
    pub flops: u64,
}

impl Sketch {
    /// How many pieces the channels are cut into.
    pub fn slices(&self) -> usize {
        self.slice.map_or(1, |slice| slice.channels / slice.width)
    }

    /// Warps of a block.
    pub fn warps(&self) -> usize {
        if self.slice.is_some() { SLICE_WARPS } else { WARPS }
    }
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

/// Makes a sketch of operations that [`form`](super::form()) has found fit for it, for tiles of so many rows, or of so many images and a slice
/// of their channels. Pieces of wide tensors that several products read stay in shared memory from the first to the last of
/// them, or are loaded for each, which takes less of it.
pub fn sketch(
    operations: &Operations,
    layout: &Layout,
    members: &[usize],
    rows: usize,
    tile_rows: usize,
    slice: Option<Slice>,
    pieces: Pieces,
) -> Sketch {
    let mut reads: HashMap<Id, usize> = HashMap::new();
    for &member in members {
        for &input in &operations.list[member].inputs {
            *reads.entry(input).or_default() += 1;
        }
    }
    let outside = |id: Id| leaves(operations, members, id);
    let sketch = Sketch { tile_rows, slice, ..Sketch::default() };
    let mut sketcher = Sketcher {
        operations,
        layout,
        rows,
        sketch,
        tiles: HashMap::new(),
        pieces: (pieces == Pieces::Stay).then(HashMap::new),
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
    /// The buffers of pieces of wider ones, by their first column and their width, if they stay.
    pieces: Option<HashMap<(Id, [usize; 2]), usize>>,
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
            Kind::SumRows { width, .. } if self.sketch.slice.is_none() => self.sum_rows(operation, width),
            Kind::SumRows { .. } => self.sum_pixels(operation),
            Kind::SumHeads { heads, width, .. } => self.sum_heads(operation, heads, width),
            Kind::LayerNorm { width, epsilon, residual, .. } => self.layer_norm(operation, width, epsilon, residual),
            Kind::LayerNormGradient { width, .. } => self.layer_norm_gradient(operation, width),
            Kind::Pointwise(pointwise) => self.pointwise(operation, pointwise),
            Kind::PointwiseGradient(pointwise) => self.pointwise_gradient(operation, pointwise),
            Kind::Add { .. } => self.add(operation),
            Kind::BatchMoments { .. } => self.batch_moments(operation),
            Kind::BatchNorm { epsilon, then, .. } => self.batch_norm(operation, epsilon, then),
            Kind::BatchNormSums { epsilon, activation, .. } => self.batch_norm_sums(operation, epsilon, activation),
            Kind::BatchNormGradient { epsilon, share, activation, .. } => {
                self.batch_norm_gradient(operation, [epsilon, share], activation);
            }
            Kind::Depthwise { shape } => self.depthwise(operation, &shape),
            Kind::DepthwiseInputGradient { shape, .. } => self.depthwise_input_gradient(operation, &shape),
            Kind::DepthwiseKernelGradient { shape } => self.depthwise_kernel_gradient(operation, &shape),
            _ => {}
        }
    }

    fn buffer(&mut self, rows: usize, width: usize) -> usize {
        self.sketch.buffers.push(2 * rows * self.pitch(width));
        self.sketch.buffers.len() - 1
    }

    /// Elements from row to row of a tile, as `pitch` of the kernel.
    fn pitch(&self, width: usize) -> usize {
        if self.sketch.slice.is_some() { width } else { width + 8 }
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

    /// A layer's dropout of a tensor of rows this wide.
    fn dropout(&mut self, layer: Option<ops::Dropout>, width: usize) -> String {
        match layer.filter(|layer| layer.rate > 0.0) {
            Some(layer) => {
                let number = self.parameter(Parameter::Dropout(layer, self.rows * width));
                format!("d{number}")
            }
            None => "Whole()".to_owned(),
        }
    }

    fn stride(&self, id: Id, width: usize) -> usize {
        stride(self.operations, self.layout, id, width)
    }

    /// Columns of a tensor of rows on their way to a new buffer.
    fn load(&mut self, id: Id, column: usize, width: usize) -> usize {
        let (rows, here, (place, stride)) = (self.tile_rows(id), self.here(id), self.place(id, column));
        let (buffer, at) = (self.buffer(rows, width), self.parameter(Parameter::Activation(id)));
        let text = format!("load_tile<{rows}, {width}>(t{buffer}, p{at} + {place}, {stride}, {here});");
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
        let key = (id, [column, width]);
        let known = self.pieces.as_ref().and_then(|pieces| pieces.get(&key).copied());
        let buffer = known.unwrap_or_else(|| self.load(id, column, width));
        if let Some(pieces) = &mut self.pieces {
            pieces.insert(key, buffer);
        }
        Matrix { buffer, pitch: width + 8, column: 0 }
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
        let rows = self.tile_rows(id);
        let buffer = free.pop().unwrap_or_else(|| self.buffer(rows, width));
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
        let (rows, here, (place, stride)) = (self.tile_rows(id), self.here(id), self.place(id, column));
        let at = self.parameter(Parameter::Activation(id));
        let text = format!("store_tile<{rows}, {width}>(p{at} + {place}, {stride}, t{buffer}, {here});");
        self.phase(Does::Other, text, vec![Memory::Buffer(buffer)], vec![Memory::Tensor(id)]);
    }

    /// A sum of the blocks', of a slice where there are slices, and where it begins in a block's.
    fn sum(&mut self, elements: usize, outputs: Vec<Id>) -> usize {
        let start = self.sketch.sums.iter().map(|sum| sum.elements).sum();
        self.sketch.sums.push(Sum { elements, outputs });
        self.parameter(Parameter::Sums);
        start
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
