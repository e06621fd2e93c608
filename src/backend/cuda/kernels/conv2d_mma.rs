//! Convolutions by tensor cores, in bfloat16 with sums in float32, whose patches are never in memory ("implicit GEMM";
//! Chetlur et al. 2014). A block keeps the pixels that its windows touch in shared memory, a chunk of channels at a time, and
//! all taps read them there.
//!
//! How the work is cut depends on the shape alone, so that sums have the same order on all devices.

mod geometry;

use std::cmp::Reverse;

use self::geometry::{Axis, Geometry};
use super::{int, reduce, source};
use crate::{
    backend::cuda::{
        device::BLOCK_MEMORY,
        launch::{Arg, Launch, Source},
    },
    graph::ops::{ConvShape, Windows},
};

pub const SOURCE: Source = source!("conv2d_mma");
pub const KERNEL_SOURCE: Source = source!("conv2d_kernel_mma");

/// Bytes of shared memory of a multiprocessor on Hopper, and what each block takes besides its own.
const MEMORY: usize = 228 << 10;
const RESERVED: usize = 1 << 10;
/// Multiprocessors of a large device. Not asked of the device.
const MULTIPROCESSORS: usize = 132;
/// Windows of a warp.
const WARP_ROWS: usize = 64;
/// Taps of a block that makes a kernel's gradient, two warps each, and the warps that load for them: five warps for each of
/// the four parts of a multiprocessor.
const MOST_TAPS: usize = 9;
const LOADERS: usize = 2;

/// Chunks of channels with the fewest zeros behind the last one, the widest first; narrower ones where memory is short.
fn chunks(depth: usize) -> impl Iterator<Item = (usize, usize)> {
    [64, 32, 16].into_iter().map(move |chunk| (depth.next_multiple_of(chunk), chunk))
}

/// How a product of windows with a kernel is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    chunk: usize,
    /// Of a block, along the windows and along the channels of the result.
    warps: [usize; 2],
    /// Channels of a warp.
    columns: usize,
    stages: usize,
    halos: usize,
    lines: usize,
    /// Of shared memory.
    bytes: usize,
    /// Of a multiprocessor.
    blocks: usize,
}

/// A product of the windows with a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Product {
    geometry: Geometry,
    /// Channels of the result.
    result: usize,
    kernel_columns: usize,
    /// The kernel is `[.., result, depth]`.
    transposed: bool,
}

impl Product {
    /// A way to cut it, if its halo fits shared memory.
    fn cut(&self, chunk: usize, warps: [usize; 2], columns: usize, stages: usize) -> Option<Tile> {
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

    fn tile(&self) -> Option<Tile> {
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

    fn launch<P>(&self, tile: &Tile, [x, kernel]: [P; 2], bias: Option<P>, other: Option<P>, y: P) -> Launch<P> {
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

/// How a kernel's gradient is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    chunk: usize,
    /// Taps of a block, and warps of a tap.
    taps: usize,
    warps: usize,
    /// Windows at a time.
    span: usize,
    stages: usize,
    lines: usize,
    bytes: usize,
    blocks: usize,
    /// Tiles of channels, filters and taps.
    tiles: usize,
    /// Parts of the windows, and spans of each.
    parts: usize,
    part: usize,
}

/// A convolution that goes by tensor cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    images: usize,
    channels: usize,
    filters: usize,
    windows: [Windows; 2],
}

impl Conv {
    /// Of convolutions of all channels to all filters those whose rows of filters are whole 16-byte vectors. With a single
    /// tap there is nothing to share: the explicit product does as well.
    pub fn new(shape: &ConvShape) -> Option<Self> {
        let ConvShape { images, channels, windows, taps, filters, groups, .. } = *shape;
        let fits = groups == 1 && filters.is_multiple_of(8) && taps > 1;
        fits.then_some(Self { images, channels, filters, windows })
    }

    fn geometry(&self) -> Geometry {
        let axes = self.windows.each_ref().map(Axis::forward);
        Geometry { images: self.images, depth: self.channels, axes }
    }

    fn product(&self) -> Product {
        let kernel_columns = self.windows[1].pool;
        Product { geometry: self.geometry(), result: self.filters, kernel_columns, transposed: false }
    }

    /// One for each class of the input's places that meet the same taps.
    fn input_products(&self) -> Option<Vec<Product>> {
        if !self.channels.is_multiple_of(8) {
            return None;
        }
        let [down, across] = &self.windows;
        let (rows, columns) = (Axis::gradients(down)?, Axis::gradients(across)?);
        let product = |axes| Product {
            geometry: Geometry { images: self.images, depth: self.filters, axes },
            result: self.channels,
            kernel_columns: across.pool,
            transposed: true,
        };
        Some(rows.iter().flat_map(|&row| columns.iter().map(move |&column| product([row, column]))).collect())
    }

    /// `y = x * kernel + bias`: x `[images, height, width, channels]`, kernel `[rows, columns, channels, filters]`, y
    /// `[images, windows down, windows across, filters]`, all bfloat16; bias float32 `[filters]`. `None` where windows
    /// touch too many pixels at a time.
    pub fn forward<P>(&self, x: P, kernel: P, bias: Option<P>, y: P) -> Option<Launch<P>> {
        let product = self.product();
        Some(product.launch(&product.tile()?, [x, kernel], bias, None, y))
    }

    /// The gradient of the input, plus another tensor like it if there is one: launches that each make some of its
    /// pixels. `None` where channels are no whole vectors, some pixels meet no tap, or windows touch too many pixels at
    /// a time.
    pub fn input_gradient<P: Clone>(&self, dy: &P, kernel: &P, other: Option<&P>, dx: &P) -> Option<Vec<Launch<P>>> {
        let launch = |product: Product| {
            let tile = product.tile()?;
            Some(product.launch(&tile, [dy.clone(), kernel.clone()], None, other.cloned(), dx.clone()))
        };
        self.input_products()?.into_iter().map(launch).collect()
    }

    fn cut(&self) -> Option<Cut> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::{
            cpu::kernels::isa::tests::noise,
            cuda::{
                emulator::{self, Memory, run_all},
                kernels::tests::assert_near,
                launch::Element,
            },
        },
        graph::ops::Conv2d,
    };

    /// A convolution of images.
    #[derive(Debug, Clone, Copy)]
    struct Case {
        images: usize,
        size: [usize; 2],
        channels: usize,
        filters: usize,
        kernel: [usize; 2],
        conv: Conv2d,
    }

    const PLAIN: Conv2d = Conv2d { strides: [1, 1], padding: [[1, 1]; 2], dilation: [1, 1], groups: 1 };

    impl Case {
        fn new(images: usize, size: [usize; 2], [channels, filters]: [usize; 2]) -> Self {
            Self { images, size, channels, filters, kernel: [3, 3], conv: PLAIN }
        }

        fn windows(&self) -> [Windows; 2] {
            self.conv.windows(self.size, self.kernel)
        }

        fn of(&self) -> Conv {
            let Self { images, channels, filters, kernel, .. } = *self;
            let (windows, taps) = (self.windows(), kernel[0] * kernel[1]);
            Conv::new(&ConvShape { images, channels, windows, taps, own: channels, filters, groups: 1 }).unwrap()
        }

        /// Calls `meet(pixel, window, tap)` for all that meet.
        fn each(&self, mut meet: impl FnMut(usize, usize, usize)) {
            let [down, across] = self.windows();
            let place = |windows: &Windows, window: usize, tap: usize| {
                (window * windows.stride + tap * windows.dilation)
                    .checked_sub(windows.before)
                    .filter(|&place| place < windows.length)
            };
            for image in 0..self.images {
                for (i, j) in (0..down.count).flat_map(|i| (0..across.count).map(move |j| (i, j))) {
                    for (a, b) in (0..down.pool).flat_map(|a| (0..across.pool).map(move |b| (a, b))) {
                        let (Some(y), Some(x)) = (place(&down, i, a), place(&across, j, b)) else { continue };
                        let pixel = (image * down.length + y) * across.length + x;
                        meet(pixel, (image * down.count + i) * across.count + j, a * across.pool + b);
                    }
                }
            }
        }
    }

    /// The result and both gradients against their definition.
    #[track_caller]
    fn check(case: Case) {
        let Case { images, size, channels, filters, kernel, .. } = case;
        let [down, across] = case.windows();
        let (pixels, windows) = (images * size[0] * size[1], images * down.count * across.count);
        let (taps, element) = (kernel[0] * kernel[1], Element::Bf16);
        let [x, other] = [1, 2].map(|seed| Memory::of_floats(&noise(seed, pixels * channels), element));
        let dy = Memory::of_floats(&noise(3, windows * filters), element);
        let weights = Memory::of_floats(&noise(4, taps * channels * filters), element);
        let bias = noise(5, filters);
        let [xs, others, dys, ks] = [&x, &other, &dy, &weights].map(|memory| memory.floats(element));

        let mut y: Vec<f64> = (0..windows * filters).map(|index| f64::from(bias[index % filters])).collect();
        let mut dx: Vec<f64> = others.iter().map(|&value| f64::from(value)).collect();
        let mut dk = vec![0.0_f64; taps * channels * filters];
        case.each(|pixel, window, tap| {
            for c in 0..channels {
                let value = f64::from(xs[pixel * channels + c]);
                let row = (tap * channels + c) * filters;
                let mut sum = 0.0;
                for f in 0..filters {
                    let (k, gradient) = (f64::from(ks[row + f]), f64::from(dys[window * filters + f]));
                    y[window * filters + f] += value * k;
                    dk[row + f] += value * gradient;
                    sum += k * gradient;
                }
                dx[pixel * channels + c] += sum;
            }
        });

        let conv = case.of();
        let bias = Memory::of(&bias);
        let out = Memory::empty(windows * filters, element);
        run_all(conv.forward(x.at(), weights.at(), Some(bias.at()), out.at()));
        assert_near(&out.floats(element), &y, 1e-2, &format!("{case:?}"));

        let of_input = Memory::empty(pixels * channels, element);
        let launches = conv.input_gradient(&dy.at(), &weights.at(), Some(&other.at()), &of_input.at());
        assert_eq!(launches.is_some(), channels.is_multiple_of(8));
        if let Some(launches) = launches {
            run_all(launches);
            assert_near(&of_input.floats(element), &dx, 1e-2, &format!("{case:?}: gradient of the input"));
        }

        let workspace = Memory::empty(conv.kernel_gradient_workspace(), Element::F32);
        let of_kernel = Memory::empty(dk.len(), Element::F32);
        let launches = conv.kernel_gradient(x.at(), dy.at(), workspace.at(), of_kernel.at());
        run_all(launches.expect("a gradient of the kernel"));
        assert_near(&of_kernel.floats(Element::F32), &dk, 1e-4, &format!("{case:?}: gradient of the kernel"));
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn few_channels_of_odd_images() {
        check(Case::new(5, [7, 5], [8, 8]));
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn channels_that_are_no_vectors() {
        check(Case::new(2, [16, 16], [3, 64]));
        check(Case { kernel: [2, 3], ..Case::new(3, [7, 5], [21, 24]) });
    }

    /// Ways to cut the convolutions of a ResNet, as chosen.
    #[test]
    fn cuts() {
        let strided = Conv2d { strides: [2, 2], ..PLAIN };
        let of = |case: Case| {
            let conv = case.of();
            let (tile, cut) = (conv.product().tile().unwrap(), conv.cut().unwrap());
            let (warps, halos) = (tile.warps, tile.halos);
            (
                [warps[0], warps[1], tile.chunk, tile.stages, halos, tile.blocks],
                [cut.chunk, cut.span, cut.tiles, cut.parts],
            )
        };
        let plain = |size: usize, width: usize| of(Case::new(1024, [size; 2], [width; 2]));
        assert_eq!(plain(32, 64), ([4, 2, 64, 3, 1, 2], [64, 64, 1, 132]));
        assert_eq!(plain(16, 128), ([2, 4, 64, 3, 2, 2], [64, 64, 4, 33]));
        assert_eq!(plain(8, 256), ([2, 4, 64, 3, 2, 2], [64, 64, 16, 8]));
        let down =
            |size: usize, width: usize| of(Case { conv: strided, ..Case::new(1024, [size; 2], [width, 2 * width]) });
        assert_eq!(down(32, 64).0, [2, 4, 64, 4, 1, 1]);
        assert_eq!(down(16, 128).0, [2, 4, 64, 3, 2, 1]);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn more_channels_than_a_chunk() {
        check(Case::new(3, [7, 5], [72, 24]));
        // Rows of eight windows, whose pixels lie in different banks of shared memory.
        emulator::matrices_read();
        check(Case::new(2, [8, 8], [64, 64]));
        assert_eq!(emulator::matrices_read().conflicts, 0);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn more_filters_than_a_tile() {
        check(Case::new(2, [7, 5], [24, 136]));
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn strides() {
        let conv = Conv2d { strides: [2, 2], ..PLAIN };
        check(Case { conv, ..Case::new(6, [7, 5], [40, 72]) });
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn odd_kernels() {
        let conv = Conv2d { strides: [2, 1], padding: [[0, 1], [3, 2]], dilation: [1, 2], groups: 1 };
        check(Case { kernel: [2, 3], conv, ..Case::new(3, [8, 9], [16, 8]) });
        // Without padding, and more taps than a block takes.
        check(Case { kernel: [5, 3], conv: Conv2d { padding: [[0; 2]; 2], ..PLAIN }, ..Case::new(3, [7, 6], [8, 16]) });
    }

    /// What each way to cut the work takes, printed: `VITX_KERNEL_TESTS=device cargo test --lib conv2d_mma -- --ignored
    /// --nocapture`.
    #[test]
    #[ignore = "measures on a CUDA device"]
    fn speeds() {
        assert!(emulator::Way::wanted() == emulator::Way::Device, "VITX_KERNEL_TESTS=device");
        let strided = Conv2d { strides: [2, 2], ..PLAIN };
        for case in [
            Case::new(1024, [32, 32], [3, 64]),
            Case::new(1024, [32, 32], [64, 64]),
            Case::new(1024, [16, 16], [128, 128]),
            Case::new(1024, [8, 8], [256, 256]),
            Case { conv: strided, ..Case::new(1024, [32, 32], [64, 128]) },
            Case { conv: strided, ..Case::new(1024, [16, 16], [128, 256]) },
        ] {
            let conv = case.of();
            let windows = case.images * conv.geometry().windows();
            let some: Vec<u16> = noise(1, 1 << 20).into_iter().map(emulator::to_bf16).collect();
            let tensor = |elements: usize| Memory::of(&some.repeat(elements.div_ceil(some.len())));
            let [x, dx] = [(); 2].map(|()| tensor(case.images * case.size[0] * case.size[1] * case.channels));
            let [y, dy] = [(); 2].map(|()| tensor(windows * case.filters));
            let kernel = tensor(9 * case.channels * case.filters);
            let out = Memory::empty(9 * case.channels * case.filters, Element::F32);
            let workspace = Memory::empty(conv.kernel_gradient_workspace(), Element::F32);
            let report = |what: &str, launches: &[Launch<*mut u8>]| {
                let seconds = emulator::seconds(launches);
                let flops = (2 * 9 * windows * case.channels * case.filters) as f64;
                println!("{what}: {:.0} us, {:.0} TFLOP/s", seconds * 1e6, flops / seconds * 1e-12);
            };
            println!("\n{:?}, {} to {}", case.size, case.channels, case.filters);
            let ways = [([2, 4], 32), ([4, 2], 32), ([2, 2], 64), ([4, 1], 64), ([4, 2], 64), ([2, 1], 64)];
            let product = conv.product();
            let chosen = product.tile().unwrap();
            let forward = |tile: &Tile| product.launch(tile, [x.at(), kernel.at()], None, None, y.at());
            report(&format!("forward, {chosen:?}"), &[forward(&chosen)]);
            for (chunk, (warps, columns), stages) in [64, 32]
                .into_iter()
                .flat_map(|chunk| ways.map(|way| (chunk, way)))
                .flat_map(|(c, w)| [2, 3, 4].map(|s| (c, w, s)))
            {
                if columns * warps[1] > case.filters {
                    continue;
                }
                if let Some(tile) = product.cut(chunk, warps, columns, stages) {
                    let what = format!(
                        "  {warps:?} warps of 64 x {columns}, chunk {chunk}, {stages} stages, {} blocks",
                        tile.blocks
                    );
                    report(&what, &[forward(&tile)]);
                }
            }
            if let Some(launches) = conv.input_gradient(&dy.at(), &kernel.at(), None, &dx.at()) {
                report("gradient of the input", &launches);
            }
            let launches = conv.kernel_gradient(x.at(), dy.at(), workspace.at(), out.at()).unwrap();
            report(&format!("gradient of the kernel, {:?}", conv.cut().unwrap()), &launches);
        }
    }
}
