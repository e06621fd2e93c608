//! Convolutions of each channel by itself.
//!
//! Of sixteen channels at a time a band of an image is copied, with the zeros around it, to where it lies in one piece:
//! all windows are alike then, and pixels a power of two apart do not push each other out of the cache.

mod band;

use band::{Axis, Bands};

use super::vector::{LANES, Vector, groups, load, store, vectorised};
use crate::graph::ops::Windows;

/// Windows side by side whose sums are in registers together.
const BESIDE: usize = 6;
/// Taps of a line whose gradients are.
const TAPS: usize = 5;

fn forward_bands(windows: &[Windows; 2]) -> Bands {
    Bands::new(windows.each_ref().map(Axis::of), 0)
}

fn input_gradient_bands(windows: &[Windows; 2]) -> Bands {
    Bands::new(windows.each_ref().map(Axis::back), 0)
}

fn kernel_gradient_bands(windows: &[Windows; 2]) -> Bands {
    Bands::new(windows.each_ref().map(Axis::of), windows[1].count * LANES)
}

/// Floats of scratch memory that each of the three needs.
pub fn scratch_len(windows: &[Windows; 2]) -> usize {
    let taps = windows[0].pool * windows[1].pool;
    let gradient = kernel_gradient_bands(windows);
    let bands = [forward_bands(windows).len(), input_gradient_bands(windows).len()];
    let gradient = gradient.len() + gradient.rows * windows[1].count * LANES;
    (taps + 1) * LANES + bands.into_iter().fold(gradient, usize::max)
}

/// The sums of `N` windows side by side, of which `x` is the first place of the first, onto `sums`.
///
/// # Safety
/// As [`Vector`]; the windows lie within a band, and `kernel` has `LANES` floats for each tap.
#[inline(always)]
unsafe fn beside<V: Vector, const N: usize>(
    bands: &Bands,
    x: *const f32,
    kernel: *const f32,
    mut sums: [V; N],
) -> [V; N] {
    let [down, across] = bands.axes;
    let step = across.stride * LANES;
    for row in 0..down.taps {
        for tap in 0..across.taps {
            // SAFETY: what the caller vouches for.
            unsafe {
                let w = V::load(kernel.add((row * across.taps + tap) * LANES));
                let x = x.add(row * down.dilation * bands.pitch + tap * across.dilation * LANES);
                for number in 0..N {
                    sums[number] = V::load(x.add(number * step)).mul_add(w, sums[number]);
                }
            }
        }
    }
    sums
}

/// `N` windows of a line, written to `y`, whose pixels are `channels` apart. They begin with the residual, if there is one,
/// or else with `start`.
///
/// # Safety
/// As [`beside`]; `y` and `residual` are valid for `width` floats of each of the pixels.
#[inline(always)]
unsafe fn windows_beside<V: Vector, const N: usize>(
    bands: &Bands,
    (x, kernel): (*const f32, *const f32),
    start: V,
    residual: Option<*const f32>,
    y: *mut f32,
    (channels, width): (usize, usize),
) {
    let mut sums = [start; N];
    // SAFETY: what the caller vouches for.
    unsafe {
        if let Some(residual) = residual {
            for number in 0..N {
                sums[number] = load(residual.add(number * channels), width, 0.0);
            }
        }
        let sums = beside(bands, x, kernel, sums);
        for number in 0..N {
            store(sums[number], y.add(number * channels), width);
        }
    }
}

/// `y = start + sum of taps`, for images `[rows, columns, channels]`; of a kernel in reverse where `reverse` is set. `y` starts
/// with the residual or with the bias.
#[inline(always)]
unsafe fn convolve<V: Vector>(
    bands: &Bands,
    channels: usize,
    x: &[f32],
    (kernel, reverse): (&[f32], bool),
    (bias, residual): (Option<&[f32]>, Option<&[f32]>),
    y: &mut [f32],
    scratch: &mut [f32],
) {
    let [down, across] = bands.axes;
    let taps = down.taps * across.taps;
    let (image, out) = (down.length * across.length * channels, down.count * across.count * channels);
    assert!(kernel.len() == taps * channels && bias.is_none_or(|bias| bias.len() == channels));
    assert!(x.len().is_multiple_of(image) && y.len() == x.len() / image * out);
    assert!(residual.is_none_or(|residual| residual.len() == y.len()));
    let (own, scratch) = scratch.split_at_mut(taps * LANES);
    let band = &mut scratch[..bands.len()];
    for (c, width) in groups(channels) {
        // SAFETY: the assertions above; a band has all places that its windows see.
        unsafe {
            for tap in 0..taps {
                let from = if reverse { taps - 1 - tap } else { tap };
                let w: V = load(kernel[from * channels + c..].as_ptr(), width, 0.0);
                w.store(own[tap * LANES..].as_mut_ptr());
            }
            let start = match bias {
                Some(bias) => load(bias[c..].as_ptr(), width, 0.0),
                None => V::splat(0.0),
            };
            for (index, (x, y)) in x.chunks_exact(image).zip(y.chunks_exact_mut(out)).enumerate() {
                let residual = residual.map(|residual| residual[index * out + c..].as_ptr());
                for (first, rows) in bands.each() {
                    bands.copy::<V>((first, rows), x[c..].as_ptr(), (channels, width), band.as_mut_ptr());
                    for row in 0..rows {
                        let line = band.as_ptr().add(row * down.stride * bands.pitch);
                        // As even as can be: a few windows alone would wait for their own sums.
                        let parts = across.count.div_ceil(BESIDE);
                        let mut column = 0;
                        for part in 0..parts {
                            let count = (across.count - column).div_ceil(parts - part);
                            let pixel = ((first + row) * across.count + column) * channels;
                            let operands = (line.add(column * across.stride * LANES), own.as_ptr());
                            let residual = residual.map(|residual| residual.add(pixel));
                            let y = y[pixel + c..].as_mut_ptr();
                            let lanes = (channels, width);
                            match count {
                                1 => windows_beside::<V, 1>(bands, operands, start, residual, y, lanes),
                                2 => windows_beside::<V, 2>(bands, operands, start, residual, y, lanes),
                                3 => windows_beside::<V, 3>(bands, operands, start, residual, y, lanes),
                                4 => windows_beside::<V, 4>(bands, operands, start, residual, y, lanes),
                                5 => windows_beside::<V, 5>(bands, operands, start, residual, y, lanes),
                                _ => windows_beside::<V, BESIDE>(bands, operands, start, residual, y, lanes),
                            }
                            column += count;
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn forward_generic<V: Vector>(
    windows: &[Windows; 2],
    channels: usize,
    x: &[f32],
    kernel: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    scratch: &mut [f32],
) {
    // SAFETY: the caller has the instruction set.
    unsafe { convolve::<V>(&forward_bands(windows), channels, x, (kernel, false), (bias, None), y, scratch) }
}

#[inline(always)]
unsafe fn input_gradient_generic<V: Vector>(
    windows: &[Windows; 2],
    channels: usize,
    dy: &[f32],
    kernel: &[f32],
    residual: Option<&[f32]>,
    dx: &mut [f32],
    scratch: &mut [f32],
) {
    let bands = input_gradient_bands(windows);
    // SAFETY: the caller has the instruction set.
    unsafe { convolve::<V>(&bands, channels, dy, (kernel, true), (None, residual), dx, scratch) }
}

/// Adds to `sums`, `LANES` floats for each tap, the gradients of `R` lines of `T` taps, of which the first is `tap` of line
/// `row`, over `rows` lines of windows.
///
/// # Safety
/// As [`Vector`]; `x` is a band of so many lines of windows, `dy` holds them.
#[inline(always)]
unsafe fn taps_gradient<V: Vector, const R: usize, const T: usize>(
    bands: &Bands,
    (row, tap): (usize, usize),
    rows: usize,
    (x, dy): (*const f32, *const f32),
    sums: *mut f32,
) {
    let [down, across] = bands.axes;
    // SAFETY: what the caller vouches for.
    unsafe {
        let own = |r: usize, t: usize| ((row + r) * across.taps + tap + t) * LANES;
        let mut added = [[V::splat(0.0); T]; R];
        for r in 0..R {
            for t in 0..T {
                added[r][t] = V::load(sums.add(own(r, t)));
            }
        }
        for window in 0..rows {
            let x = x.add((window * down.stride + row * down.dilation) * bands.pitch + tap * across.dilation * LANES);
            for column in 0..across.count {
                let dy = V::load(dy.add((window * across.count + column) * LANES));
                let x = x.add(column * across.stride * LANES);
                for r in 0..R {
                    for t in 0..T {
                        let x = V::load(x.add(r * down.dilation * bands.pitch + t * across.dilation * LANES));
                        added[r][t] = x.mul_add(dy, added[r][t]);
                    }
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                added[r][t].store(sums.add(own(r, t)));
            }
        }
    }
}

#[inline(always)]
unsafe fn kernel_gradient_generic<V: Vector>(
    windows: &[Windows; 2],
    channels: usize,
    x: &[f32],
    dy: &[f32],
    dkernel: &mut [f32],
    scratch: &mut [f32],
) {
    let bands = kernel_gradient_bands(windows);
    let [down, across] = bands.axes;
    let taps = down.taps * across.taps;
    let (image, out) = (down.length * across.length * channels, down.count * across.count * channels);
    assert!(dkernel.len() == taps * channels);
    assert!(x.len().is_multiple_of(image) && dy.len() == x.len() / image * out);
    let (sums, scratch) = scratch.split_at_mut(taps * LANES);
    let (band, of_dy) = scratch.split_at_mut(bands.len());
    let of_dy = &mut of_dy[..bands.rows * across.count * LANES];
    for (c, width) in groups(channels) {
        // SAFETY: the assertions above; a band has all places that its windows see.
        unsafe {
            for tap in 0..taps {
                load::<V>(dkernel[tap * channels + c..].as_ptr(), width, 0.0).store(sums[tap * LANES..].as_mut_ptr());
            }
            for (x, dy) in x.chunks_exact(image).zip(dy.chunks_exact(out)) {
                for (first, rows) in bands.each() {
                    bands.copy::<V>((first, rows), x[c..].as_ptr(), (channels, width), band.as_mut_ptr());
                    for pixel in 0..rows * across.count {
                        let from = dy[(first * across.count + pixel) * channels + c..].as_ptr();
                        load::<V>(from, width, 0.0).store(of_dy[pixel * LANES..].as_mut_ptr());
                    }
                    let (operands, sums) = ((band.as_ptr(), of_dy.as_ptr()), sums.as_mut_ptr());
                    let mut tap = 0;
                    while tap < across.taps {
                        let count = (across.taps - tap).min(TAPS);
                        let mut row = 0;
                        while row < down.taps {
                            // Two lines of few taps at once: sums that wait for nothing.
                            let two = count <= 3 && row + 1 < down.taps;
                            let at = (row, tap);
                            match (count, two) {
                                (1, false) => taps_gradient::<V, 1, 1>(&bands, at, rows, operands, sums),
                                (1, true) => taps_gradient::<V, 2, 1>(&bands, at, rows, operands, sums),
                                (2, false) => taps_gradient::<V, 1, 2>(&bands, at, rows, operands, sums),
                                (2, true) => taps_gradient::<V, 2, 2>(&bands, at, rows, operands, sums),
                                (3, false) => taps_gradient::<V, 1, 3>(&bands, at, rows, operands, sums),
                                (3, true) => taps_gradient::<V, 2, 3>(&bands, at, rows, operands, sums),
                                (4, _) => taps_gradient::<V, 1, 4>(&bands, at, rows, operands, sums),
                                _ => taps_gradient::<V, 1, TAPS>(&bands, at, rows, operands, sums),
                            }
                            row += if two { 2 } else { 1 };
                        }
                        tap += count;
                    }
                }
            }
            for tap in 0..taps {
                let sum = V::load(sums[tap * LANES..].as_ptr());
                store(sum, dkernel[tap * channels + c..].as_mut_ptr(), width);
            }
        }
    }
}

vectorised! {
    /// A depthwise convolution of images `[images, height, width, channels]` by a kernel `[height, width, channels]`,
    /// to which a bias `[channels]` is added.
    pub fn forward(
        windows: &[Windows; 2], channels: usize, x: &[f32], kernel: &[f32], bias: Option<&[f32]>, y: &mut [f32],
        scratch: &mut [f32],
    ) = forward_generic;
    /// The gradient of its input; a residual of the input's shape is added.
    pub fn input_gradient(
        windows: &[Windows; 2], channels: usize, dy: &[f32], kernel: &[f32], residual: Option<&[f32]>, dx: &mut [f32],
        scratch: &mut [f32],
    ) = input_gradient_generic;
    /// Adds the gradient of its kernel.
    pub fn kernel_gradient(
        windows: &[Windows; 2], channels: usize, x: &[f32], dy: &[f32], dkernel: &mut [f32], scratch: &mut [f32],
    ) = kernel_gradient_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    /// Sums in double precision: `visit(image, window, tap, place)` for all that are joined.
    fn joined(windows: &[Windows; 2], images: usize, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let [down, across] = windows;
        let at = |w: &Windows, window: usize, tap: usize| {
            let place = (window * w.stride + tap * w.dilation).checked_sub(w.before)?;
            (place < w.length).then_some(place)
        };
        for image in 0..images {
            for (window, tap) in (0..down.count).flat_map(|w| (0..down.pool).map(move |t| (w, t))) {
                for (column, beside) in (0..across.count).flat_map(|w| (0..across.pool).map(move |t| (w, t))) {
                    if let (Some(y), Some(x)) = (at(down, window, tap), at(across, column, beside)) {
                        let own = tap * across.pool + beside;
                        visit(image, window * across.count + column, own, y * across.length + x);
                    }
                }
            }
        }
    }

    /// Sums of so many terms, each of which adds its rounding.
    fn close(actual: &[f32], expected: &[f64], terms: usize, what: &str) {
        let tolerance = 1e-5 + 1e-7 * terms as f64;
        for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
            assert!((f64::from(actual) - expected).abs() < tolerance, "{what} {index}: {actual} {expected}");
        }
    }

    fn check(windows: &[Windows; 2], channels: usize) {
        let images = 2;
        let [down, across] = windows;
        let (inputs, outputs) = (down.length * across.length, down.count * across.count);
        let taps = down.pool * across.pool;
        let (x, dy) = (noise(1, images * inputs * channels), noise(2, images * outputs * channels));
        let (kernel, bias) = (noise(3, taps * channels), noise(4, channels));
        let (residual, before) = (noise(5, x.len()), noise(6, kernel.len()));
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        let mut y: Vec<f64> = bias.iter().map(|&b| f64::from(b)).cycle().take(dy.len()).collect();
        let (mut dx, mut dkernel) = (wide(&residual), wide(&before));
        joined(windows, images, |image, window, tap, place| {
            for c in 0..channels {
                let (input, output) =
                    ((image * inputs + place) * channels + c, (image * outputs + window) * channels + c);
                let of_kernel = tap * channels + c;
                y[output] += f64::from(x[input]) * f64::from(kernel[of_kernel]);
                dx[input] += f64::from(dy[output]) * f64::from(kernel[of_kernel]);
                dkernel[of_kernel] += f64::from(x[input]) * f64::from(dy[output]);
            }
        });
        let mut vectors: Option<[Vec<f32>; 3]> = None;
        on_each_isa(|isa| {
            let what = format!("{isa:?} {windows:?} {channels}");
            let mut scratch = vec![f32::NAN; scratch_len(windows)];
            let (mut own_y, mut own_dx, mut own_dkernel) = (vec![0.0; y.len()], vec![0.0; x.len()], before.clone());
            forward(windows, channels, &x, &kernel, Some(&bias), &mut own_y, &mut scratch);
            input_gradient(windows, channels, &dy, &kernel, Some(&residual), &mut own_dx, &mut scratch);
            kernel_gradient(windows, channels, &x, &dy, &mut own_dkernel, &mut scratch);
            close(&own_y, &y, taps, &what);
            close(&own_dx, &dx, taps, &what);
            close(&own_dkernel, &dkernel, images * outputs, &what);
            if isa > crate::backend::cpu::kernels::isa::Isa::Portable {
                let own = [own_y, own_dx, own_dkernel];
                assert_eq!(vectors.get_or_insert_with(|| own.clone()), &own, "{what}");
            }
        });
    }

    #[test]
    fn sums_of_taps_on_each_isa() {
        for (pool, stride, dilation) in
            [(1, 1, 1), (2, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2), (4, 3, 1), (5, 1, 1), (7, 2, 2)]
        {
            for (height, width) in [(1, 1), (5, 9), (8, 13)] {
                let same = [height, width].map(|length| Windows::same(length, pool, stride, dilation));
                for channels in [1, 35] {
                    check(&same, channels);
                }
                // Padding that reaches further than the kernel, and unlike along the axes.
                let padded = [
                    Windows::padded_by(height, pool, stride, dilation, [(pool - 1) * dilation + 2, 1]),
                    Windows::padded_by(width, 1, stride, 1, [0, 0]),
                ];
                check(&padded, 17);
            }
        }
    }

    #[test]
    fn an_image_that_fills_no_cache_goes_by_bands() {
        let windows = [Windows::same(70, 3, 1, 1), Windows::same(41, 5, 1, 1)];
        assert!(forward_bands(&windows).rows < 70);
        check(&windows, 5);
    }
}
