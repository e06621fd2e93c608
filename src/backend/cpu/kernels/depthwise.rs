//! Convolutions of each channel by itself. Channels lie side by side and are treated together.

use super::isa::{madd, multiversion};
use crate::graph::ops::Windows;

/// Channels that are treated together.
const LANES: usize = 16;
/// Pixels side by side whose sums are in registers together.
const BESIDE: usize = 6;

/// Pairs of numbers of a tap and of the place that it joins to a window along an axis.
#[inline(always)]
fn taps(windows: &Windows, window: usize) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
    let Windows { length, pool, dilation, stride, before, .. } = *windows;
    (0..pool).filter_map(move |tap| {
        let at = (window * stride + tap * dilation).wrapping_sub(before);
        (at < length).then_some((tap, at))
    })
}

/// The same from a place to the windows that it is in.
#[inline(always)]
fn windows_of(windows: &Windows, place: usize) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
    let Windows { pool, dilation, stride, count, before, .. } = *windows;
    (0..pool).filter_map(move |tap| {
        let from = (place + before).checked_sub(tap * dilation)?;
        (from.is_multiple_of(stride) && from / stride < count).then_some((tap, from / stride))
    })
}

/// The windows that lie within the input as a whole.
#[inline(always)]
fn whole(windows: &Windows) -> std::ops::Range<usize> {
    let Windows { length, stride, count, before, .. } = *windows;
    let first = before.div_ceil(stride).min(count);
    let end = (length + before).checked_sub(windows.reach()).map_or(0, |last| last / stride + 1).min(count);
    first..end.max(first)
}

/// Channels from `c` on of one pixel: `out[c] = start[c] + sum of x[place][c] kernel[tap][c]` over pairs of a tap and a
/// place.
#[inline(always)]
fn pixel<const FMA: bool>(
    channels: usize,
    c: usize,
    pairs: impl Iterator<Item = (usize, usize)>,
    x: &[f32],
    kernel: &[f32],
    start: Option<&[f32]>,
    out: &mut [f32],
) {
    let width = LANES.min(channels - c);
    let mut sums = [0.0; LANES];
    if let Some(start) = start {
        sums[..width].copy_from_slice(&start[c..c + width]);
    }
    for (tap, place) in pairs {
        let (x, w) = (&x[place * channels + c..][..width], &kernel[tap * channels + c..][..width]);
        if width == LANES {
            for lane in 0..LANES {
                sums[lane] = madd::<FMA>(x[lane], w[lane], sums[lane]);
            }
        } else {
            for lane in 0..width {
                sums[lane] = madd::<FMA>(x[lane], w[lane], sums[lane]);
            }
        }
    }
    out[c..c + width].copy_from_slice(&sums[..width]);
}

/// [`BESIDE`] pixels of a line, all of whose taps across are within the input: `at` is where the first tap of the first
/// one lies, and the next one's `step` elements on. `rows` are pairs of a line of taps and a line of the input.
#[inline(always)]
fn beside<const FMA: bool>(
    (channels, c): (usize, usize),
    across: &Windows,
    (at, step): (usize, usize),
    rows: impl Iterator<Item = (usize, usize)>,
    (x, kernel): (&[f32], &[f32]),
    start: impl Fn(usize) -> Option<[f32; LANES]>,
    out: &mut [f32],
) {
    let mut sums = [[0.0; LANES]; BESIDE];
    for (number, sums) in sums.iter_mut().enumerate() {
        if let Some(start) = start(number) {
            *sums = start;
        }
    }
    for (row, y) in rows {
        let line = &x[y * across.length * channels..][..across.length * channels];
        for tap in 0..across.pool {
            let w: &[f32; LANES] = kernel[(row * across.pool + tap) * channels + c..].first_chunk().expect("a block");
            for number in 0..BESIDE {
                let from = at + number * step + tap * across.dilation * channels;
                let x: &[f32; LANES] = line[from..].first_chunk().expect("a block");
                for lane in 0..LANES {
                    sums[number][lane] = madd::<FMA>(x[lane], w[lane], sums[number][lane]);
                }
            }
        }
    }
    for (number, sums) in sums.iter().enumerate() {
        out[number * channels + c..][..LANES].copy_from_slice(sums);
    }
}

/// `y = start + sum of taps`: a convolution, where `start(image, pixel)` are channels.
#[inline(always)]
fn convolve<'s, const FMA: bool>(
    windows: &[Windows; 2],
    channels: usize,
    x: &[f32],
    kernel: &[f32],
    start: impl Fn(usize, usize) -> Option<&'s [f32]>,
    y: &mut [f32],
) {
    let [down, across] = windows;
    let image = down.length * across.length * channels;
    let out = down.count * across.count * channels;
    let inner = whole(across);
    for (index, (x, y)) in x.chunks_exact(image).zip(y.chunks_exact_mut(out)).enumerate() {
        for (row, y) in y.chunks_exact_mut(across.count * channels).enumerate() {
            for c in (0..channels).step_by(LANES) {
                let mut column = 0;
                while column < across.count {
                    let y = &mut y[column * channels..];
                    let first = row * across.count + column;
                    if inner.contains(&column) && column + BESIDE <= inner.end && c + LANES <= channels {
                        let at = (column * across.stride - across.before) * channels + c;
                        let start =
                            |number| start(index, first + number).and_then(|start| start[c..].first_chunk().copied());
                        let step = across.stride * channels;
                        beside::<FMA>((channels, c), across, (at, step), taps(down, row), (x, kernel), start, y);
                        column += BESIDE;
                        continue;
                    }
                    let columns = taps(across, column);
                    let pairs = taps(down, row).flat_map(|(tap, y)| {
                        columns.clone().map(move |(beside, x)| (tap * across.pool + beside, y * across.length + x))
                    });
                    pixel::<FMA>(channels, c, pairs, x, kernel, start(index, first), y);
                    column += 1;
                }
            }
        }
    }
}

#[inline(always)]
fn forward_generic<const FMA: bool>(
    windows: &[Windows; 2],
    channels: usize,
    x: &[f32],
    kernel: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    convolve::<FMA>(windows, channels, x, kernel, |_, _| bias, y);
}

#[inline(always)]
fn input_gradient_generic<const FMA: bool>(
    windows: &[Windows; 2],
    channels: usize,
    dy: &[f32],
    kernel: &[f32],
    residual: Option<&[f32]>,
    turned: &mut [f32],
    dx: &mut [f32],
) {
    let [down, across] = windows;
    let image = down.length * across.length * channels;
    let start =
        |index: usize, pixel: usize| residual.map(|residual| &residual[index * image + pixel * channels..][..channels]);
    if windows.iter().all(|windows| windows.stride == 1 && windows.before < windows.reach()) {
        // A convolution as well, by the kernel turned around.
        for (to, from) in turned.chunks_exact_mut(channels).zip(kernel.chunks_exact(channels).rev()) {
            to.copy_from_slice(from);
        }
        let windows = windows.map(Windows::turned);
        return convolve::<FMA>(&windows, channels, dy, turned, start, dx);
    }
    let out = down.count * across.count * channels;
    for (index, (dy, dx)) in dy.chunks_exact(out).zip(dx.chunks_exact_mut(image)).enumerate() {
        for (place, dx) in dx.chunks_exact_mut(channels).enumerate() {
            let columns = windows_of(across, place % across.length);
            let pairs = windows_of(down, place / across.length).flat_map(|(row, y)| {
                columns.clone().map(move |(column, x)| (row * across.pool + column, y * across.count + x))
            });
            for c in (0..channels).step_by(LANES) {
                pixel::<FMA>(channels, c, pairs.clone(), dy, kernel, start(index, place), dx);
            }
        }
    }
}

/// Adds the gradient of a line of `TAPS` taps, of which the first is `tap`, for the channels from `c` on.
#[inline(always)]
fn line_gradient<const FMA: bool, const TAPS: usize>(
    windows: &[Windows; 2],
    (channels, c): (usize, usize),
    (row, tap): (usize, usize),
    (x, dy): (&[f32], &[f32]),
    dkernel: &mut [f32],
) {
    let [down, across] = windows;
    let (width, inner) = (LANES.min(channels - c), whole(across));
    let mut sums = [[0.0; LANES]; TAPS];
    for (number, sums) in sums.iter_mut().enumerate() {
        sums[..width].copy_from_slice(&dkernel[(row * across.pool + tap + number) * channels + c..][..width]);
    }
    for window in 0..down.count {
        let from = (window * down.stride + row * down.dilation).wrapping_sub(down.before);
        if from >= down.length {
            continue;
        }
        let line = &x[from * across.length * channels..][..across.length * channels];
        let dy = &dy[window * across.count * channels..][..across.count * channels];
        for column in 0..across.count {
            let dy = &dy[column * channels + c..][..width];
            if inner.contains(&column) && width == LANES {
                let dy: &[f32; LANES] = dy.first_chunk().expect("a block");
                let at = column * across.stride - across.before + tap * across.dilation;
                for number in 0..TAPS {
                    let from = (at + number * across.dilation) * channels + c;
                    let x: &[f32; LANES] = line[from..].first_chunk().expect("a block");
                    for lane in 0..LANES {
                        sums[number][lane] = madd::<FMA>(x[lane], dy[lane], sums[number][lane]);
                    }
                }
                continue;
            }
            for (number, sums) in sums.iter_mut().enumerate() {
                let at = (column * across.stride + (tap + number) * across.dilation).wrapping_sub(across.before);
                if at < across.length {
                    let x = &line[at * channels + c..][..width];
                    for lane in 0..width {
                        sums[lane] = madd::<FMA>(x[lane], dy[lane], sums[lane]);
                    }
                }
            }
        }
    }
    for (number, sums) in sums.iter().enumerate() {
        dkernel[(row * across.pool + tap + number) * channels + c..][..width].copy_from_slice(&sums[..width]);
    }
}

#[inline(always)]
fn kernel_gradient_generic<const FMA: bool>(
    windows: &[Windows; 2],
    channels: usize,
    x: &[f32],
    dy: &[f32],
    dkernel: &mut [f32],
) {
    let [down, across] = windows;
    let image = down.length * across.length * channels;
    let out = down.count * across.count * channels;
    for operands in x.chunks_exact(image).zip(dy.chunks_exact(out)) {
        for c in (0..channels).step_by(LANES) {
            for row in 0..down.pool {
                let mut tap = 0;
                while tap < across.pool {
                    let (block, at) = ((channels, c), (row, tap));
                    tap += match across.pool - tap {
                        5.. => {
                            line_gradient::<FMA, 5>(windows, block, at, operands, dkernel);
                            5
                        }
                        3.. => {
                            line_gradient::<FMA, 3>(windows, block, at, operands, dkernel);
                            3
                        }
                        _ => {
                            line_gradient::<FMA, 1>(windows, block, at, operands, dkernel);
                            1
                        }
                    };
                }
            }
        }
    }
}

multiversion! {
    /// A depthwise convolution of images `[images, height, width, channels]` by a kernel `[height, width, channels]`,
    /// to which a bias `[channels]` is added.
    pub fn forward(
        windows: &[Windows; 2], channels: usize, x: &[f32], kernel: &[f32], bias: Option<&[f32]>, y: &mut [f32],
    ) = forward_generic;
    /// The gradient of its input; a residual of the input's shape is added. `turned` has room for a kernel.
    pub fn input_gradient(
        windows: &[Windows; 2], channels: usize, dy: &[f32], kernel: &[f32], residual: Option<&[f32]>,
        turned: &mut [f32], dx: &mut [f32],
    ) = input_gradient_generic;
    /// Adds the gradient of its kernel.
    pub fn kernel_gradient(
        windows: &[Windows; 2], channels: usize, x: &[f32], dy: &[f32], dkernel: &mut [f32],
    ) = kernel_gradient_generic;
}
