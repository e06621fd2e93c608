//! Regions: consecutive operations that treat every row of their tensors alike (norms, products with layers' kernels,
//! activations, dropout, sums, and the gradients of all of them) as one kernel. A block takes a tile of rows through all
//! operations; what one leaves to the next lies in shared memory and never in the device's.
//!
//! `form` finds the runs and cuts them in pieces that fit, `sketch` makes phases of operations, `order` asks for operands
//! ahead of the products that wait for them, `plan` gives tiles their places, and finds out where a block has to wait,
//! `text` writes the kernel, `emit` launches it. What phases do is in `kernels/region.cuh`.
//!
//! Gradients of parameters are sums over rows: each block adds up those of its own tiles, and the blocks' sums are added in
//! order by a launch of their own. There are never more than [`LANES`] blocks with sums, whatever the device, so that the bits are the
//! same on all.

mod choice;
mod emit;
mod form;
mod order;
mod plan;
mod sketch;
#[cfg(test)]
mod tests;
mod text;

pub use choice::Regions;
pub use form::form;
pub use text::{NAME, phases};

use super::{compile::operations::Id, launch::Source};
use crate::graph::ops;

/// Warps of a block, the most for which a thread has 168 registers.
const WARPS: usize = 12;

/// Blocks that leave sums: no more than any large device runs at once.
const LANES: usize = 128;

/// A region that has been planned.
#[derive(Debug)]
pub struct Region {
    source: Source,
    /// Of the tensors.
    rows: usize,
    /// Of a tile.
    tile_rows: usize,
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
        self.sums.iter().map(|sum| sum.elements).sum()
    }

    /// Blocks of the launch.
    fn blocks(&self) -> usize {
        if self.sums.is_empty() { self.tiles() } else { self.tiles().min(LANES) }
    }
}
