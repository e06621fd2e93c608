//! The gradient of a convolution's kernel.

use std::cmp::Reverse;

use super::{Conv, KERNEL_SOURCE, MEMORY, RESERVED, chunks};
use crate::backend::cuda::{
    device::BLOCK_MEMORY,
    kernels::{int, reduce},
    launch::{Arg, Launch},
};

/// Multiprocessors of a large device. Not asked of the device.
const MULTIPROCESSORS: usize = 132;
/// Taps of a block that makes a kernel's gradient, two warps each, and the warps that load for them: five warps for each of
/// the four parts of a multiprocessor.
const MOST_TAPS: usize = 9;
const LOADERS: usize = 2;

/// How a kernel's gradient is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub chunk: usize,
    /// Taps of a block, and warps of a tap.
    pub taps: usize,
    pub warps: usize,
    /// Windows at a time.
    pub span: usize,
    pub stages: usize,
    pub lines: usize,
    pub bytes: usize,
    pub blocks: usize,
    /// Tiles of channels, filters and taps.
    pub tiles: usize,
    /// Parts of the windows, and spans of each.
    pub parts: usize,
    pub part: usize,
}

impl Conv {
    pub(super) fn cut(&self) -> Option<Cut> {
        let geometry = self.geometry();
        let taps = geometry.taps().div_ceil(geometry.taps().div_ceil(MOST_TAPS));
        let warps = if self.filters > 32 { 2 } else { 1 };
        let (all_warps, tile) = (taps * warps + LOADERS, 32 * warps);
        let mut all: Vec<(usize, Cut)> = Vec::new();
        for (padded, chunk) in chunks(self.channels) {
            for span in [64, 32, 16] {
                let lines = geometry.lines(span);
                let stage = 2 * (geometry.halo(lines, chunk) + span * (tile + 8));
                let stages = (BLOCK_MEMORY / stage).min(4);
                if stages < 2 {
                    continue;
                }
                // Up to 96 registers a thread.
                let blocks = (20 / all_warps).clamp(1, 4).min(MEMORY / (stages * stage + RESERVED));
                let tiles =
                    self.filters.div_ceil(tile) * self.channels.div_ceil(chunk) * geometry.taps().div_ceil(taps);
                let spans = (self.images * geometry.windows()).div_ceil(span);
                let part = spans.div_ceil((MULTIPROCESSORS * blocks / tiles).clamp(1, spans));
                let parts = spans.div_ceil(part);
                let bytes = stages * stage;
                all.push((padded, Cut { chunk, taps, warps, span, stages, lines, bytes, blocks, tiles, parts, part }));
            }
        }
        let cost = |(padded, cut): &(usize, Cut)| (*padded, Reverse((cut.stages.min(3), cut.chunk, cut.span)));
        all.into_iter().min_by_key(cost).map(|(_, cut)| cut)
    }

    /// Floats of workspace for [`Conv::kernel_gradient`].
    pub fn kernel_gradient_workspace(&self) -> usize {
        let elements = self.geometry().taps() * self.channels * self.filters;
        self.cut().map_or(0, |cut| if cut.parts == 1 { 0 } else { cut.parts * elements })
    }

    /// The gradient of the kernel, float32. `None` where windows touch too many pixels at a time.
    pub fn kernel_gradient<P: Clone>(&self, x: P, dy: P, workspace: P, out: P) -> Option<Vec<Launch<P>>> {
        let (cut, geometry) = (self.cut()?, self.geometry());
        let mut defines = geometry.defines(cut.chunk, cut.lines);
        defines.extend([
            ("FILTERS", self.filters.to_string()),
            ("TAP_TILE", cut.taps.to_string()),
            ("WARPS_N", cut.warps.to_string()),
            ("LOADERS", LOADERS.to_string()),
            ("SPAN", cut.span.to_string()),
            ("STAGES", cut.stages.to_string()),
            ("BLOCKS", cut.blocks.to_string()),
        ]);
        let sums = if cut.parts == 1 { out.clone() } else { workspace.clone() };
        let by_parts = Launch {
            source: KERNEL_SOURCE,
            defines,
            entry: "conv2d_kernel_mma",
            grid: [cut.tiles as u32, cut.parts as u32, 1],
            block: [(32 * (cut.taps * cut.warps + LOADERS)) as u32, 1, 1],
            shared_bytes: cut.bytes as u32,
            args: vec![
                Arg::I32(int(self.images)),
                Arg::I32(int(cut.part)),
                Arg::Pointer(x),
                Arg::Pointer(dy),
                Arg::Pointer(sums),
            ],
        };
        let elements = geometry.taps() * self.channels * self.filters;
        let all = (cut.parts > 1).then(|| reduce::sum_parts(cut.parts, elements, workspace, out));
        Some(std::iter::once(by_parts).chain(all).collect())
    }
}
