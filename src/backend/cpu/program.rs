//! The static list of kernel calls.

use super::kernel::{Kernel, Split};
use crate::graph::StepInput;

/// Shares of the batch whose sums are taken apart and added in order.
pub const LANES: usize = 16;

/// Columns per task: many where that leaves some tasks for each thread.
pub const COLUMNS: [usize; 2] = [256, 128];

/// Which memory a slot is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Parameters and moments, kept across steps and programs.
    Store,
    /// The program's arena.
    Arena,
    /// A worker's own memory, for one tile.
    Local,
}

/// Where a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub base: Base,
    pub offset: usize,
    /// Elements, per image if `per_image`.
    pub len: usize,
    pub per_image: bool,
    /// Arena offset of one sum per lane, for a sum over images.
    pub lanes: Option<usize>,
}

/// How the threads share a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Depth-first over tiles of the batch.
    Images,
    /// Steps that do not depend on each other, a task each.
    Each,
    /// One step, as its split says.
    Single,
}

impl From<Split> for Work {
    fn from(split: Split) -> Self {
        match split {
            Split::Images => Self::Images,
            Split::Once => Self::Each,
            _ => Self::Single,
        }
    }
}

/// One kernel call.
pub struct Step {
    pub name: &'static str,
    /// Parameters that the operator reads.
    pub parameters: Vec<String>,
    /// Place in the program's order.
    pub index: usize,
    pub kernel: Kernel,
    pub flops: u64,
    pub inputs: Vec<Slot>,
    pub outputs: Vec<Slot>,
    /// Inputs that no step of the region has touched shortly before. (Outputs gain nothing from being
    /// asked for: the processor follows a stream of stores by itself.)
    pub cold: Vec<Slot>,
}

/// Steps that run depth-first over tiles of images, or one step over the whole batch.
pub struct Region {
    pub work: Work,
    pub steps: Vec<Step>,
    /// Images per tile.
    pub tile: usize,
    /// Local elements for one tile.
    pub local_len: usize,
}

/// A step that changes parameters and their moments only, and whose operands are kept until the program ends: it may run
/// beside the regions.
pub struct Update {
    pub step: Step,
    /// The region from which on it may run: those before it make its operands, and read what it changes.
    pub from: usize,
}

/// A compiled graph for one batch size.
pub struct Program {
    /// Images of a step.
    pub batch: usize,
    /// In the order in which they run.
    pub regions: Vec<Region>,
    /// In the order in which they may run.
    pub updates: Vec<Update>,
    /// The mean loss of the batch, one element.
    pub loss: Slot,
    /// The region that computes the loss; before it is done nothing is updated.
    pub loss_region: usize,
    /// `[batch, num_classes]`.
    pub logits: Slot,
    /// Of the parameters, in the network's order; none in a program that does not compute them.
    pub gradients: Vec<Slot>,
    /// Inputs by name.
    pub loads: Vec<(StepInput, Slot)>,
    /// Elements of the memory that all threads share.
    pub arena_len: usize,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("batch", &self.batch).field("regions", &self.regions.len()).finish()
    }
}

impl Program {
    /// Elements of scratch memory each worker needs.
    pub fn worker_len(&self) -> usize {
        let lane = self.batch.div_ceil(LANES);
        let scratch = |step: &Step, tile: usize| match step.kernel.split {
            Split::Columns { rows, columns } => {
                let columns = COLUMNS[0].min(columns);
                (step.kernel.scratch)(columns) + rows * columns
            }
            Split::Rows { rows, together, .. } => (step.kernel.scratch)(together.min(rows)),
            Split::Images => (step.kernel.scratch)(tile.min(lane)),
            _ => (step.kernel.scratch)(self.batch),
        };
        let region = |region: &Region| {
            let scratch = region.steps.iter().map(|step| scratch(step, region.tile));
            region.local_len + scratch.max().unwrap_or(0)
        };
        let updates = self.updates.iter().map(|update| scratch(&update.step, 0));
        self.regions.iter().map(region).chain(updates).max().unwrap_or(0)
    }

    /// All kernel calls, updates last.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let regions = self.regions.iter().flat_map(|region| &region.steps);
        regions.chain(self.updates.iter().map(|update| &update.step))
    }
}
