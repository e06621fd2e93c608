//! Which operations become regions.

use std::{collections::HashSet, rc::Rc};

use super::{
    LANES, Region, order,
    plan::{Plan, plan},
    sketch::{Memory, Phase, Pieces, Sketch, WIDEST_TILE, leaves, piece, sketch, stride},
    text,
};
use crate::backend::cuda::{
    compile::operations::{Id, Kind, Operation, Operations, Origin},
    launch::Element,
    layout::Layout,
};

/// Products at least so deep and wide are left to the library, which does them near the peak.
const LIBRARY: usize = 192;

/// Larger gradients of kernels are left to the library: the blocks' sums of them would be more memory than what they are
/// the sums of.
const LARGEST_SUM: usize = 64 * 1024;

/// Tensors that divide in narrower pieces are left to the library.
const LEAST_PIECE: usize = 48;

/// So are wider ones: each piece of their columns is a line of the kernel's text.
const WIDEST: usize = 2048;

/// What a tile costs besides its rows, as so many rows: mostly the kernels of the layers, which each tile loads.
const ROWS_OF_A_TILE: usize = 32;

/// The rows that a tile may have.
const TILE_ROWS: [usize; 10] = [16, 32, 48, 64, 80, 96, 112, 128, 144, 160];

/// Makes regions of operations on rows, for blocks with so many bytes of shared memory.
pub fn form(operations: &mut Operations, layout: &Layout, block_memory: usize) {
    let mut index = 0;
    while index < operations.list.len() {
        let Some(run) = run(operations, layout, index) else {
            index += 1;
            continue;
        };
        let mut list = Vec::new();
        let mut left = &run.members[..];
        while !left.is_empty() {
            let (count, region) = fitting(operations, layout, left, run.rows, block_memory);
            let (members, rest) = left.split_at(count);
            match region {
                Some(region) => list.push(region),
                None => list.extend(members.iter().map(|&member| operations.list[member].clone())),
            }
            left = rest;
        }
        list.extend(run.put_off.iter().map(|&member| operations.list[member].clone()));
        let next = index + list.len();
        operations.list.splice(index..run.end, list);
        index = next;
    }
}

/// Consecutive operations on tensors of as many rows.
struct Run {
    rows: usize,
    members: Vec<usize>,
    /// What stands between them and may as well stand after them.
    put_off: Vec<usize>,
    end: usize,
}

fn run(operations: &Operations, layout: &Layout, start: usize) -> Option<Run> {
    let list = &operations.list;
    // An operation that treats each element alone has the rows of those around it.
    let rows = list[start..].iter().map_while(rows).flatten().next()?;
    let mut run = Run { rows, members: Vec::new(), put_off: Vec::new(), end: start };
    let mut late: HashSet<Id> = HashSet::new();
    let mut made: HashSet<Id> = HashSet::new();
    for (index, operation) in list.iter().enumerate().skip(start) {
        // It reads what was put off, or sums, which are not there before all tiles have gone through.
        let waits = operation.inputs.iter().any(|id| late.contains(id));
        // Columns of what the run itself makes are no tiles.
        let of_made = |id: &Id| match operations.tensors[*id].origin {
            Origin::Columns { of, .. } => made.contains(&of),
            _ => false,
        };
        if !waits && fits(operations, layout, operation, rows) && !operation.inputs.iter().any(of_made) {
            run.members.push(index);
            made.extend(&operation.outputs);
            late.extend(sums(operation));
        } else if matches!(
            operation.kind,
            Kind::DenseKernelGradient { .. } | Kind::SumRows { .. } | Kind::HeadProduct(_)
        ) {
            run.put_off.push(index);
            late.extend(&operation.outputs);
        } else {
            break;
        }
        run.end = index + 1;
    }
    // What was put off at the end stands where it did.
    while run.put_off.last().is_some_and(|&last| last + 1 == run.end) {
        run.put_off.pop();
        run.end -= 1;
    }
    (run.members.len() > 1 && run.members[0] == start).then_some(run)
}

/// The rows of an operation, if it treats rows alike: `Some(None)` if any number will do.
fn rows(operation: &Operation) -> Option<Option<usize>> {
    match operation.kind {
        Kind::Dense { rows, .. }
        | Kind::DenseInputGradient { rows, .. }
        | Kind::DenseKernelGradient { rows, .. }
        | Kind::SumRows { rows, .. }
        | Kind::SumHeads { rows, .. }
        | Kind::LayerNorm { rows, .. }
        | Kind::LayerNormGradient { rows, .. }
        | Kind::BatchMoments { rows, .. }
        | Kind::BatchNorm { rows, .. }
        | Kind::BatchNormSums { rows, .. }
        | Kind::BatchNormGradient { rows, .. } => Some(Some(rows)),
        Kind::Pointwise(_) | Kind::PointwiseGradient(_) | Kind::Add { rows: 1, .. } => Some(None),
        _ => None,
    }
}

/// What an operation makes of all rows.
pub fn sums(operation: &Operation) -> &[Id] {
    match operation.kind {
        Kind::DenseKernelGradient { .. }
        | Kind::SumRows { .. }
        | Kind::BatchMoments { .. }
        | Kind::BatchNormSums { .. }
        | Kind::DepthwiseKernelGradient { .. } => &operation.outputs,
        Kind::LayerNormGradient { .. } => &operation.outputs[1..],
        _ => &[],
    }
}

/// Whether an operation can be part of a region of so many rows.
fn fits(operations: &Operations, layout: &Layout, operation: &Operation, of: usize) -> bool {
    let Some(rows) = rows(operation) else { return false };
    if rows.is_some_and(|rows| rows != of) {
        return false;
    }
    // Tensors of rows, with as many columns as tensor cores take.
    let tile = |id: Id| {
        let tensor = &operations.tensors[id];
        let (width, even) = (tensor.elements / of, tensor.elements.is_multiple_of(of));
        let aligned = match tensor.origin {
            Origin::Columns { start, stride, .. } => start.is_multiple_of(8) && stride.is_multiple_of(8),
            Origin::Parameter(_) | Origin::Implicit => false,
            Origin::Computed | Origin::Images | Origin::Labels => true,
        };
        even && (1..=WIDEST).contains(&width)
            && width.is_multiple_of(16)
            && whole(width)
            && tensor.element == Element::Bf16
            && aligned
    };
    let narrow = |id: Id| tile(id) && operations.tensors[id].elements / of <= WIDEST_TILE;
    let kernel = |id: Id, k: usize, n: usize| {
        let tensor = &operations.tensors[id];
        let library = k >= LIBRARY && n >= LIBRARY;
        let own = match tensor.origin {
            Origin::Parameter(index) => layout.slot(index).stride.is_multiple_of(8),
            // A product of parameters.
            Origin::Computed => tensor.element == Element::Bf16,
            _ => false,
        };
        own && !library && k.is_multiple_of(16) && n.is_multiple_of(16)
    };
    let (inputs, outputs) = (&operation.inputs, &operation.outputs);
    match operation.kind {
        Kind::Dense { k, n, .. } => tile(inputs[0]) && tile(outputs[0]) && kernel(inputs[1], k, n),
        Kind::DenseInputGradient { k, n, .. } => tile(inputs[0]) && tile(outputs[0]) && kernel(inputs[1], k, n),
        Kind::DenseKernelGradient { k, n, .. } => {
            let sum = k * n <= LARGEST_SUM && contiguous(operations, layout, outputs[0], n);
            tile(inputs[0]) && tile(inputs[1]) && sum && !(k >= LIBRARY && n >= LIBRARY)
        }
        Kind::SumRows { .. } => tile(inputs[0]),
        // It reads the heads where they are.
        Kind::SumHeads { heads, width, .. } => {
            let of = &operations.tensors[inputs[0]];
            let whole = of.element == Element::Bf16 && of.origin == Origin::Computed;
            whole && heads * width <= WIDEST && narrow(outputs[0])
        }
        Kind::LayerNorm { residual, .. } => {
            let added = residual.is_none_or(|_| narrow(inputs[3]) && narrow(outputs[3]));
            narrow(inputs[0]) && narrow(outputs[0]) && added
        }
        Kind::LayerNormGradient { .. } => {
            narrow(inputs[0]) && narrow(inputs[1]) && narrow(outputs[0]) && inputs.get(5).is_none_or(|&id| narrow(id))
        }
        Kind::BatchMoments { .. } => narrow(inputs[0]),
        Kind::BatchNorm { then, .. } => {
            narrow(inputs[0]) && narrow(outputs[0]) && then.sum.is_none_or(|_| narrow(inputs[5]))
        }
        Kind::BatchNormSums { .. } => narrow(inputs[0]) && narrow(inputs[1]),
        Kind::BatchNormGradient { .. } => narrow(inputs[0]) && narrow(inputs[1]) && narrow(outputs[0]),
        Kind::Pointwise(_) | Kind::PointwiseGradient(_) | Kind::Add { .. } => {
            inputs.iter().chain(outputs).all(|&id| narrow(id))
        }
        _ => false,
    }
}

/// Whether a width divides in pieces that are worth a product of their own.
fn whole(width: usize) -> bool {
    piece(width) == width || piece(width) >= LEAST_PIECE
}

/// Whether a gradient's rows lie one after the other where the update reads it.
fn contiguous(operations: &Operations, layout: &Layout, id: Id, width: usize) -> bool {
    let of = |index: usize| layout.slot(index).stride;
    let own = operations.gradients.iter().position(|&gradient| gradient == Some(id));
    stride(operations, layout, id, width) == width && own.is_none_or(|index| of(index) == width)
}

/// As many operations as fit one region, at least one, and the region, if there is one.
fn fitting(
    operations: &Operations,
    layout: &Layout,
    members: &[usize],
    rows: usize,
    block_memory: usize,
) -> (usize, Option<Operation>) {
    let planned = |count: usize| planned(operations, layout, &members[..count], rows, block_memory);
    let Some(most) = (2..=members.len()).rev().find(|&count| planned(count).is_some()) else {
        return (1, None);
    };
    let count = if most == members.len() { most } else { narrowest(operations, members, most) };
    let Some((sketch, phases, plan)) = planned(count) else { return (1, None) };
    (count, Some(operation(operations, &members[..count], rows, &sketch, &phases, &plan)))
}

/// Where a run is cut so that least goes through memory, between half of what fits and all of it.
fn narrowest(operations: &Operations, members: &[usize], most: usize) -> usize {
    let crossing = |count: usize| -> usize {
        let made = members[..count].iter().flat_map(|&member| &operations.list[member].outputs);
        let read: HashSet<Id> =
            members[count..].iter().flat_map(|&member| operations.list[member].inputs.iter().copied()).collect();
        made.filter(|id| read.contains(id)).map(|&id| operations.tensors[id].elements).sum()
    };
    (2.max(most.div_ceil(2))..=most).rev().min_by_key(|&count| crossing(count)).unwrap_or(most)
}

/// The plan that takes the least time, of those that fit.
fn planned(
    operations: &Operations,
    layout: &Layout,
    members: &[usize],
    rows: usize,
    block_memory: usize,
) -> Option<(Sketch, Vec<Phase>, Plan)> {
    let mut sizes = TILE_ROWS.to_vec();
    // Rows that a block goes through, and the largest tiles first.
    sizes.sort_by_key(|&tile| (rows.div_ceil(tile).div_ceil(LANES) * (tile + ROWS_OF_A_TILE), std::cmp::Reverse(tile)));
    // Operands that are there when a product wants them are worth more than pieces that are loaded once.
    let ways = [(Pieces::Stay, true), (Pieces::Go, true), (Pieces::Stay, false), (Pieces::Go, false)];
    sizes.into_iter().flat_map(|tile_rows| ways.map(|way| (tile_rows, way))).find_map(|(tile_rows, (pieces, ahead))| {
        let sketch = sketch(operations, layout, members, rows, tile_rows, None, pieces);
        let phases = if ahead { order::ahead(&sketch.phases) } else { sketch.phases.clone() };
        let plan = plan(&sketch, &phases);
        (plan.bytes <= block_memory).then_some((sketch, phases, plan))
    })
}

/// The operation of a region.
pub fn operation(
    operations: &Operations,
    members: &[usize],
    rows: usize,
    sketch: &Sketch,
    phases: &[Phase],
    plan: &Plan,
) -> Operation {
    let region = Region {
        source: text::source(sketch, phases, plan),
        rows,
        tile_rows: sketch.tile_rows,
        slice: sketch.slice,
        slices: sketch.slices(),
        warps: sketch.warps(),
        shared_bytes: plan.bytes,
        parameters: sketch.parameters.clone(),
        sums: sketch.sums.clone(),
        flops: sketch.flops,
    };
    let made: HashSet<Id> =
        members.iter().flat_map(|&member| operations.list[member].outputs.iter().copied()).collect();
    let tensors = |of: fn(&Phase) -> &Vec<Memory>| {
        phases.iter().flat_map(of).filter_map(|memory| match memory {
            Memory::Tensor(id) => Some(*id),
            Memory::Buffer(_) => None,
        })
    };
    let mut inputs: Vec<Id> = Vec::new();
    let read = members.iter().flat_map(|&member| operations.list[member].inputs.iter().copied());
    for id in read.filter(|id| !made.contains(id)) {
        if !inputs.contains(&id) {
            inputs.push(id);
        }
    }
    let mut outputs: Vec<Id> = Vec::new();
    let written = tensors(|phase| &phase.writes).chain(sketch.sums.iter().flat_map(|sum| sum.outputs.iter().copied()));
    for id in written {
        if !outputs.contains(&id) {
            outputs.push(id);
        }
    }
    debug_assert!(made.iter().all(|&id| outputs.contains(&id) || !leaves(operations, members, id)));
    let names: Vec<&str> = members.iter().map(|&member| operations.list[member].name.as_str()).collect();
    Operation { kind: Kind::Region(Rc::new(region)), name: names.join("+"), inputs, outputs }
}
