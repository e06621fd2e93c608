//! Regions: consecutive operations that treat every row of their tensors alike (norms, products with layers' kernels,
//! activations, dropout, sums, and the gradients of all of them) as one kernel. A block takes a tile of rows through all
//! operations; what one leaves to the next lies in shared memory and never in the device's.
//!
//! `form` finds the runs and cuts them in pieces that fit, `sketch` makes phases of operations, `order` asks for operands
//! ahead of the products that wait for them, `plan` gives tiles their places, and finds out where a block has to wait,
//! `text` writes the kernel, `emit` launches it. What phases do is in `kernels/region.cuh`.
//!
//! Convolutions of each channel by itself have regions of another kind (`images`): what treats every channel alone, and a tile of some channels of
//! whole images.
//!
//! Gradients of parameters are sums over rows: each block adds up those of its own tiles, and the blocks' sums are added in
//! order by a launch of their own. There are never more than [`LANES`] blocks with sums, whatever the device, so that the bits are the
//! same on all whose blocks may have as much shared memory.

mod choice;
mod emit;
mod form;
mod images;
mod order;
mod plan;
mod sketch;
#[cfg(test)]
mod tests;
mod text;

pub use choice::Regions;
pub use text::{NAME, phases};

use self::sketch::Slice;
use super::{
    compile::operations::{Id, Operations},
    launch::Source,
    layout::Layout,
};
use crate::graph::ops;

/// Makes regions of operations, for blocks with so many bytes of shared memory. What fits none stays as it is.
pub fn form(operations: &mut Operations, layout: &Layout, block_memory: usize) {
    images::form(operations, layout, block_memory);
    form::form(operations, layout, block_memory);
}

/// Warps of a block, the most for which a thread has 168 registers.
const WARPS: usize = 12;

/// Blocks that leave sums: no more than any large device runs at once.
const LANES: usize = 128;

/// Warps of a block whose tiles are slices of images: two such blocks have 128 registers for each thread.
const SLICE_WARPS: usize = 8;

/// Blocks of slices that run at once on a large device. Not asked of the device, so that sums have the same order on all with as much
/// shared memory.
const SLICE_BLOCKS: usize = 264;

/// A region that has been planned.
#[derive(Debug)]
pub struct Region {
    source: Source,
    /// Of the tensors; images where tiles are slices of them.
    rows: usize,
    /// Of a tile.
    tile_rows: usize,
    /// What tiles have of images' channels, if they are slices of images.
    slice: Option<Slice>,
    /// How many pieces those are cut into.
    slices: usize,
    /// Of a block.
    warps: usize,
    /// Bytes of shared memory.
    shared_bytes: usize,
    /// In the order of the kernel's parameters.
    parameters: Vec<Parameter>,
    sums: Vec<Sum>,
    /// Of products.
    flops: u64,
}

/// What a kernel is given.
#[derive(Debug, Clone, PartialEq)]
enum Parameter {
    /// A tensor as activations are stored, a layer's kernel by its shadow.
    Activation(Id),
    /// A tensor in full precision.
    Exact(Id),
    /// The blocks' sums, `[blocks, elements of all sums]`.
    Sums,
    /// A layer's, of so many elements.
    Dropout(ops::Dropout, usize),
}

/// What blocks add up.
#[derive(Debug, Clone, PartialEq)]
struct Sum {
    /// Of a slice, where there are slices.
    elements: usize,
    /// One tensor, or two of half as many elements, one after the other.
    outputs: Vec<Id>,
}

impl Region {
    fn tiles(&self) -> usize {
        self.rows.div_ceil(self.tile_rows)
    }

    /// Whether it has a layer's dropout.
    pub fn drops(&self, layer: ops::Dropout) -> bool {
        self.parameters.iter().any(|parameter| matches!(parameter, Parameter::Dropout(of, _) if *of == layer))
    }

    /// Elements of all sums.
    fn summed(&self) -> usize {
        self.slices * self.sums.iter().map(|sum| sum.elements).sum::<usize>()
    }

    /// Blocks of the launch, for each slice.
    fn blocks(&self) -> usize {
        match (self.sums.is_empty(), self.slice.is_some()) {
            (true, _) => self.tiles(),
            (false, true) => self.lanes_of_slice(),
            (false, false) => self.tiles().min(LANES),
        }
    }
}
