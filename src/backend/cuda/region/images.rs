//! Which operations become regions whose tiles are slices of images: those around a convolution of each channel by itself that treat
//! every channel alone, too.

mod again;

use std::ops::Range;

use super::{
    LANES, Region, SLICE_BLOCKS, SLICE_WARPS,
    form::{operation, sums},
    order,
    plan::{Plan, plan},
    sketch::{Phase, Pieces, Sketch, Slice, sketch},
};
use crate::backend::cuda::{
    compile::operations::{Id, Kind, Operation, Operations, Origin},
    kernels::depthwise::Depthwise,
    launch::Element,
    layout::Layout,
};

/// Channels that a tile may have.
const WIDTHS: [usize; 8] = [128, 96, 64, 48, 32, 24, 16, 8];

/// Images that a tile may have.
const IMAGES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// The largest tile, in numbers.
const LARGEST_TILE: usize = 64 * 1024;

/// What a tile costs besides its numbers, as so many of them: barriers, and sums of few threads.
const NUMBERS_OF_A_TILE: usize = 2048;

/// Memory is read in pieces of so many channels: narrower tiles read some twice.
const CHANNELS_AT_ONCE: usize = 16;

/// Taps side by side that a thread has in registers.
const WIDEST_WINDOWS: usize = 7;

/// Bytes that a multiprocessor keeps of each block's shared memory.
const KEPT: usize = 1024;

/// A sketch, its phases in order, and where they have their buffers.
type Planned = (Sketch, Vec<Phase>, Plan);

/// Makes regions of operations around convolutions of each channel by itself, for blocks with so many bytes of shared memory. The backward pass comes
/// first: what it makes again the forward pass need not write.
pub fn form(operations: &mut Operations, layout: &Layout, block_memory: usize) {
    let mut index = operations.list.len();
    while index > 0 {
        index -= 1;
        let Some(shape) = channels(&operations.list[index]) else { continue };
        let Some(run) = run(operations, index, &shape) else { continue };
        let Some((mut range, mut region)) = fitting(operations, layout, &run, index..index + 1, &shape, block_memory)
        else {
            continue;
        };
        let before = operations.list[run.clone()].to_vec();
        if let Some(within) = again::make(operations, &run, &shape) {
            let more = run.start..run.end + 1;
            match fitting(operations, layout, &more, within, &shape, block_memory) {
                Some(made) if made.0.len() > range.len() => (range, region) = made,
                _ => drop(operations.list.splice(more, before)),
            }
        }
        index = range.start;
        operations.list.splice(range, [region]);
    }
}

/// The shape of a convolution of each channel by itself.
fn channels(operation: &Operation) -> Option<Depthwise> {
    match operation.kind {
        Kind::Depthwise { shape }
        | Kind::DepthwiseInputGradient { shape, .. }
        | Kind::DepthwiseKernelGradient { shape } => Some(shape),
        _ => None,
    }
}

/// Longer regions are not tried: each range of a run is, and few operations stand between two sums over the batch.
const LONGEST: usize = 24;

/// The most operations of a run, some of which must be among them, that fit one region, and the region.
fn fitting(
    operations: &Operations,
    layout: &Layout,
    run: &Range<usize>,
    some: Range<usize>,
    shape: &Depthwise,
    block_memory: usize,
) -> Option<(Range<usize>, Operation)> {
    let within = |length: usize| {
        let (starts, some) = (run.start..=run.end - length, some.clone());
        starts
            .map(move |start| start..start + length)
            .filter(move |range| range.start <= some.start && some.end <= range.end)
    };
    (2..=run.len().min(LONGEST)).rev().flat_map(within).find_map(|range| {
        let members = early_sums(operations, range.clone());
        let (sketch, phases, plan) = planned(operations, layout, &members, shape, block_memory)?;
        let region = operation(operations, &members, shape.images, &sketch, &phases, &plan);
        Some((range, region))
    })
}

/// Consecutive operations on the same channels of as many images, of which none reads what another sums over all images.
fn run(operations: &Operations, index: usize, shape: &Depthwise) -> Option<Range<usize>> {
    let list = &operations.list;
    let apart = |one: &Operation, other: &Operation| {
        let late = sums(one);
        !other.inputs.iter().any(|id| late.contains(id))
    };
    if !fits(operations, &list[index], shape) {
        return None;
    }
    let mut run = index..index + 1;
    while run.start > 0
        && fits(operations, &list[run.start - 1], shape)
        && list[run.clone()].iter().all(|other| apart(&list[run.start - 1], other))
    {
        run.start -= 1;
    }
    while run.end < list.len()
        && fits(operations, &list[run.end], shape)
        && list[run.clone()].iter().all(|other| apart(other, &list[run.end]))
    {
        run.end += 1;
    }
    Some(run)
}

/// Whether an operation treats each channel of such images alone.
fn fits(operations: &Operations, operation: &Operation, shape: &Depthwise) -> bool {
    let Depthwise { images, channels, .. } = *shape;
    let tile = |id: Id| {
        let tensor = &operations.tensors[id];
        tensor.element == Element::Bf16
            && matches!(tensor.origin, Origin::Computed)
            && tensor.elements.is_multiple_of(images * channels)
    };
    let exact = |id: Id| operations.tensors[id].element == Element::F32;
    let (inputs, outputs) = (&operation.inputs, &operation.outputs);
    let depthwise = |of: &Depthwise| {
        let [_, across] = of.windows;
        (of.images, of.channels) == (images, channels)
            && [1, 2, 4].contains(&across.stride)
            && of.windows.iter().all(|along| along.pool <= WIDEST_WINDOWS)
    };
    match &operation.kind {
        Kind::Depthwise { shape } => {
            depthwise(shape) && tile(inputs[0]) && tile(outputs[0]) && inputs[1..].iter().all(|&id| exact(id))
        }
        Kind::DepthwiseInputGradient { shape, .. } => {
            let added = inputs.get(2).is_none_or(|&id| tile(id));
            depthwise(shape) && tile(inputs[0]) && exact(inputs[1]) && added && tile(outputs[0])
        }
        Kind::DepthwiseKernelGradient { shape } => depthwise(shape) && tile(inputs[0]) && tile(inputs[1]),
        Kind::BatchMoments { channels: of, .. } => *of == channels && tile(inputs[0]),
        Kind::BatchNorm { channels: of, then, .. } => {
            let added = then.sum.is_none_or(|_| tile(inputs[5]));
            *of == channels && tile(inputs[0]) && added && tile(outputs[0])
        }
        Kind::BatchNormSums { channels: of, .. } => *of == channels && tile(inputs[0]) && tile(inputs[1]),
        Kind::BatchNormGradient { channels: of, .. } => {
            *of == channels && tile(inputs[0]) && tile(inputs[1]) && tile(outputs[0])
        }
        Kind::SumRows { rows, width } => *width == channels && rows.is_multiple_of(images) && tile(inputs[0]),
        Kind::Pointwise(pointwise) | Kind::PointwiseGradient(pointwise) => {
            // What dropout keeps is counted through the whole tensor.
            pointwise.dropout.is_none() && inputs.iter().chain(outputs).all(|&id| tile(id))
        }
        Kind::Add { rows: 1, .. } => inputs.iter().chain(outputs).all(|&id| tile(id)),
        _ => false,
    }
}

/// Operations in their order, but that sums stand right after what they are the sums of, so that this need not be kept for long.
fn early_sums(operations: &Operations, range: Range<usize>) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    for member in range {
        let operation = &operations.list[member];
        let makes = |earlier: &usize| {
            let made = &operations.list[*earlier].outputs;
            operation.inputs.iter().any(|id| made.contains(id))
        };
        let only_sums = sums(operation).len() == operation.outputs.len();
        let maker = order.iter().rposition(makes);
        match maker.filter(|_| only_sums) {
            Some(maker) => order.insert(maker + 1, member),
            None => order.push(member),
        }
    }
    order
}

/// The plan that takes the least time, of those that fit.
fn planned(
    operations: &Operations,
    layout: &Layout,
    members: &[usize],
    shape: &Depthwise,
    block_memory: usize,
) -> Option<Planned> {
    let Depthwise { images, channels, .. } = *shape;
    // Of the largest tensor.
    let pixels = shape.windows.map(|along| along.length.max(along.count)).iter().product::<usize>();
    let down = members.iter().filter_map(|&member| self::channels(&operations.list[member]));
    let rows_of_taps = down.map(|shape| shape.windows[0].pool).max().unwrap_or(1);
    let mut best: Option<(usize, Planned)> = None;
    for width in WIDTHS.into_iter().filter(|&width| channels.is_multiple_of(width)) {
        // A thread for each row of taps.
        if width / 8 * rows_of_taps > 32 * SLICE_WARPS {
            continue;
        }
        for of_tile in IMAGES.into_iter().filter(|&of| of == 1 || (of <= images && of * pixels * width <= LARGEST_TILE))
        {
            let sketch =
                sketch(operations, layout, members, images, of_tile, Some(Slice { channels, width }), Pieces::Go);
            let orders = [order::ahead(&sketch.phases), sketch.phases.clone()];
            for phases in orders {
                let plan = plan(&sketch, &phases);
                let Some(cost) = cost(images, of_tile, pixels, &sketch, plan.bytes, block_memory) else { continue };
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    let sketch = sketch.clone();
                    best = Some((cost, (sketch, phases, plan)));
                }
            }
        }
    }
    best.map(|(_, planned)| planned)
}

/// What a multiprocessor goes through, in numbers, if a block fits: where two do, one computes while the other waits for memory.
fn cost(
    images: usize,
    of_tile: usize,
    pixels: usize,
    sketch: &Sketch,
    bytes: usize,
    block_memory: usize,
) -> Option<usize> {
    let width = sketch.slice?.width;
    let at_once = (block_memory + KEPT) / (bytes + KEPT);
    if bytes > block_memory || at_once == 0 {
        return None;
    }
    let at_once = at_once.min(2);
    let tiles = images.div_ceil(of_tile) * sketch.slices();
    let rounds = tiles.div_ceil(at_once * SLICE_BLOCKS / 2);
    let numbers = of_tile * pixels * width.next_multiple_of(CHANNELS_AT_ONCE) + NUMBERS_OF_A_TILE;
    // One that waits alone takes half as long again.
    Some(rounds * numbers * if at_once == 1 { 3 } else { 2 * at_once })
}

impl Region {
    /// How many blocks leave sums of one slice.
    pub fn lanes_of_slice(&self) -> usize {
        let most = (4 * SLICE_BLOCKS / self.slices).clamp(1, LANES);
        let rounds = self.tiles().div_ceil(most);
        self.tiles().div_ceil(rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_small_blocks_are_better_than_one_large() {
        let sketch = |width| Sketch { slice: Some(Slice { channels: 256, width }), ..Sketch::default() };
        let of = |width: usize, bytes| cost(128, 1, 256, &sketch(width), bytes, 200 << 10);
        assert!(of(32, 60 << 10) < of(64, 120 << 10));
        assert!(of(64, 90 << 10) < of(32, 45 << 10));
        assert_eq!(of(64, 201 << 10), None);
    }
}
