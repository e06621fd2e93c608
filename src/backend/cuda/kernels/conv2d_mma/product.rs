//! Products of windows with a kernel, which convolutions and the gradients of their inputs are.

use std::cmp::Reverse;

use super::{
    MEMORY, RESERVED, SOURCE, chunks,
    geometry::{Axis, Geometry},
};
use crate::backend::cuda::{
    device::BLOCK_MEMORY,
    kernels::int,
    launch::{Arg, Launch},
};

/// Windows of a warp.
const WARP_ROWS: usize = 64;

/// How a product of windows with a kernel is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    pub chunk: usize,
    /// Of a block, along the windows and along the channels of the result.
    pub warps: [usize; 2],
    /// Channels of a warp.
    pub columns: usize,
    pub stages: usize,
    pub halos: usize,
    pub lines: usize,
    /// Of shared memory.
    pub bytes: usize,
    /// Of a multiprocessor.
    pub blocks: usize,
}

/// A product of the windows with a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Product {
    pub geometry: Geometry,
    /// Channels of the result.
    pub result: usize,
    pub kernel_columns: usize,
    /// The kernel is `[.., result, depth]`.
    pub transposed: bool,
}

impl Product {
    /// A way to cut it, if its halo fits shared memory.
    pub fn cut(&self, chunk: usize, warps: [usize; 2], columns: usize, stages: usize) -> Option<Tile> {
        let [rows, width] = [WARP_ROWS * warps[0], columns * warps[1]];
        let lines = self.geometry.lines(rows);
        let halos = self.geometry.depth.div_ceil(chunk).min(2);
        let stage = if self.transposed { width * (chunk + 8) } else { chunk * (width + 8) };
        let loop_elements = halos * self.geometry.halo(lines, chunk) + stages * stage;
        let bytes = 2 * loop_elements.max(rows * (width + 8));
        let threads = 32 * warps[0] * warps[1];
        // At 128 registers a thread for 64 x 32 sums of a warp, at 256 for more, or where ends are to be looked for.
        let ragged = chunk > 16 && !self.geometry.depth.is_multiple_of(chunk) || !self.result.is_multiple_of(width);
        let by_registers = if ragged { 1 } else { (65536 / (threads * 4 * columns)).max(1) };
        let blocks = (MEMORY / (bytes + RESERVED)).min(by_registers);
        (bytes <= BLOCK_MEMORY).then_some(Tile { chunk, warps, columns, stages, halos, lines, bytes, blocks })
    }

    pub fn tile(&self) -> Option<Tile> {
        // A warp makes 64 x 32 sums: each operand is read from shared memory often enough, and two blocks of eight warps
        // fit a multiprocessor.
        let warps: &[[usize; 2]] = match self.result {
            ..=32 => &[[4, 1], [2, 1]],
            result if result.next_multiple_of(64) < result.next_multiple_of(128) => &[[4, 2], [2, 2]],
            _ => &[[2, 4], [1, 4]],
        };
        let mut all: Vec<(usize, Tile)> = Vec::new();
        for (padded, chunk) in chunks(self.geometry.depth) {
            for &warps in warps {
                let tile = self.cut(chunk, warps, 32, 3);
                // A block by itself has room for one more.
                let deeper = tile.filter(|tile| tile.blocks == 1).and_then(|_| self.cut(chunk, warps, 32, 4));
                all.extend(deeper.or(tile).map(|tile| (padded, tile)));
            }
        }
        // Enough warps to hide waiting, then many windows for what is read of the kernel.
        let cost = |(padded, tile): &(usize, Tile)| {
            let warps = tile.warps[0] * tile.warps[1] * tile.blocks;
            (*padded, tile.chunk == 16, Reverse([warps.min(8), tile.warps[0], warps.min(16), tile.chunk]))
        };
        all.into_iter().min_by_key(cost).map(|(_, tile)| tile)
    }

    pub fn launch<P>(&self, tile: &Tile, [x, kernel]: [P; 2], bias: Option<P>, other: Option<P>, y: P) -> Launch<P> {
        let mut defines = self.geometry.defines(tile.chunk, tile.lines);
        let flag = |set: bool| u8::from(set).to_string();
        defines.extend([
            ("RESULT", self.result.to_string()),
            ("COLUMNS", tile.columns.to_string()),
            ("WARPS_M", tile.warps[0].to_string()),
            ("WARPS_N", tile.warps[1].to_string()),
            ("STAGES", tile.stages.to_string()),
            ("HALOS", tile.halos.to_string()),
            ("BLOCKS", tile.blocks.to_string()),
            ("KERNEL_COLUMNS", self.kernel_columns.to_string()),
            ("TRANSPOSED", flag(self.transposed)),
            ("BIAS", flag(bias.is_some())),
            ("OTHER", flag(other.is_some())),
        ]);
        const NAMES: [[&str; 5]; 2] = [
            ["TAP_FROM_ROWS", "TAP_BY_ROWS", "RESULT_ROWS", "FROM_ROWS", "BY_ROWS"],
            ["TAP_FROM_COLUMNS", "TAP_BY_COLUMNS", "RESULT_COLUMNS", "FROM_COLUMNS", "BY_COLUMNS"],
        ];
        for (names, axis) in NAMES.into_iter().zip(&self.geometry.axes) {
            let Axis { tap, tap_step, result, from, by, .. } = *axis;
            let values = [tap.to_string(), tap_step.to_string(), result.to_string(), from.to_string(), by.to_string()];
            defines.extend(names.into_iter().zip(values));
        }
        let windows = self.geometry.images * self.geometry.windows();
        let tiles = windows.div_ceil(WARP_ROWS * tile.warps[0]) * self.result.div_ceil(tile.columns * tile.warps[1]);
        let optional = |pointer: Option<P>| pointer.map_or(Arg::Null, Arg::Pointer);
        Launch {
            source: SOURCE,
            defines,
            entry: "conv2d_mma",
            grid: [tiles as u32, 1, 1],
            block: [(32 * tile.warps[0] * tile.warps[1]) as u32, 1, 1],
            shared_bytes: tile.bytes as u32,
            args: vec![
                Arg::I32(int(self.geometry.images)),
                Arg::Pointer(x),
                Arg::Pointer(kernel),
                optional(bias),
                optional(other),
                Arg::Pointer(y),
            ],
        }
    }
}
