//! From a step graph to a [`Program`]: operators fused, kernels chosen, memory planned.

pub mod emit;
mod fitting;
mod fuse;
mod heads;
mod lines;
pub mod operations;
mod projected;

use self::{
    emit::{Emitter, Symbol, each_tensor},
    operations::{Id, Operations},
};
use super::{
    launch::Precision,
    layout::Layout,
    program::{Base, Line, Output, Place, Program},
    region, state,
};
use crate::{
    backend::{
        BackendError,
        extents::{self, TooLarge},
        plan::Lifetime,
    },
    passes::StepGraph,
};

/// The plan counts in units of so many bytes: sixteen of them, the plan's alignment, are 256.
const UNIT: usize = 16;

/// For so many calls after a call of the side line the memory of its tensors is not used again. The side line lags
/// behind: its calls run where the main line's leave the device idle, and were what they read overwritten by the next
/// call, the main line would wait for them after all. The arena is fullest where the backward pass begins, and by the
/// time that these tensors are kept for, it has freed more: the reference model's grows by 5 %, for this many calls or for half
/// as many, and its main line waits six times before the update instead of ten.
const LAG: usize = 96;

/// Places buffers in one arena: `plan::pack`, but in tests.
pub type Planner = fn(&[Lifetime]) -> (Vec<usize>, usize);

/// Why a graph has no program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileError {
    /// The name of an operator.
    NoKernel(String),
    TooLarge(TooLarge),
}

impl CompileError {
    /// The error of a batch size; `attempt` compiles for another.
    pub fn of_batch(self, batch: usize, attempt: impl Fn(usize) -> Result<Program, Self>) -> BackendError {
        match self {
            Self::NoKernel(name) => BackendError::Other(format!("the cuda backend has no kernel for `{name}`")),
            Self::TooLarge(error) => error.of_batch(batch, |batch| match attempt(batch) {
                Err(Self::TooLarge(error)) => Err(error),
                _ => Ok(()),
            }),
        }
    }
}

/// What a program is compiled for.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub precision: Precision,
    /// Of dropout.
    pub seed: u64,
    /// Bytes of shared memory that a block may have.
    pub block_memory: usize,
    pub planner: Planner,
    /// Whether operations are made [regions](super::region).
    pub regions: bool,
}

/// Compiles a graph for a batch size.
///
/// # Errors
/// An operator that has no kernel, or a tensor that is larger than kernels can count.
pub fn compile(graph: &StepGraph, layout: &Layout, batch: usize, target: Target) -> Result<Program, CompileError> {
    let Target { precision, seed, block_memory, planner, regions } = target;
    extents::check(graph, "cuda").map_err(CompileError::TooLarge)?;
    let mut operations = Operations::read(graph, precision).map_err(CompileError::NoKernel)?;
    // With more in one kernel, as regions are, and chosen with them by what is faster on the device.
    if regions {
        projected::form(&mut operations, precision, block_memory);
    }
    heads::split(&mut operations, precision.element());
    fuse::fuse(&mut operations, layout);
    if regions {
        region::form(&mut operations, layout, block_memory);
    }
    let mut emitter = Emitter::new(operations, layout, &graph.builder.parameters, precision, seed, block_memory);
    emitter.run();
    fitting::check(&emitter).map_err(CompileError::TooLarge)?;
    lines::split(&mut emitter.calls, &emitter.operations);
    let (images, labels, logits) = (emitter.operations.images, emitter.operations.labels, emitter.operations.logits);
    let (offsets, arena_bytes) = place(&emitter, planner, &[images, labels], &[logits]);
    let place = |symbol: Symbol| match symbol {
        Symbol::Fixed(place) => place,
        Symbol::Tensor(id, offset) => Place { base: Base::Arena, offset: offsets[id] + offset },
    };
    let output = |id: Id| {
        let tensor = &emitter.operations.tensors[id];
        Output { place: place(emitter.at(id)), elements: tensor.elements, element: tensor.element }
    };
    Ok(Program {
        batch,
        loss_known: emitter.loss_known,
        loss: state::LOSS,
        logits: output(logits),
        images: output(images),
        labels: output(labels).place,
        arena_bytes,
        calls: emitter.calls.iter().map(|call| call.map(&place)).collect(),
    })
}

/// Byte offsets of all tensors in the arena, and its size. The inputs are there from the start to the end, so that a
/// program can run again on them, the results until the end; all else from the first call that names it to the last,
/// and some calls longer if that runs beside the others.
fn place(emitter: &Emitter, planner: Planner, inputs: &[Id], results: &[Id]) -> (Vec<usize>, usize) {
    let tensors = &emitter.operations.tensors;
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; tensors.len()];
    let mut meet = |id: Id, at: usize| {
        let life = &mut lives[id];
        let (first, last) = life.unwrap_or((at, at));
        *life = Some((first.min(at), last.max(at)));
    };
    for (index, call) in emitter.calls.iter().enumerate() {
        let until = match call.line {
            Line::Main => index,
            Line::Side | Line::Fill => (index + LAG).min(emitter.calls.len()),
        };
        each_tensor(call, |id| {
            meet(id, index);
            meet(id, until);
        });
    }
    inputs.iter().for_each(|&id| meet(id, 0));
    inputs.iter().chain(results).for_each(|&id| meet(id, emitter.calls.len()));
    let placed: Vec<Id> = (0..tensors.len()).filter(|&id| lives[id].is_some()).collect();
    let buffers: Vec<Lifetime> = placed
        .iter()
        .filter_map(|&id| {
            let (first, last) = lives[id]?;
            let len = (tensors[id].elements * tensors[id].element.size()).div_ceil(UNIT).max(1);
            Some(Lifetime { len, first, last })
        })
        .collect();
    let (places, len) = planner(&buffers);
    let mut offsets = vec![0; tensors.len()];
    for (&id, offset) in placed.iter().zip(places) {
        offsets[id] = offset * UNIT;
    }
    (offsets, len * UNIT)
}
