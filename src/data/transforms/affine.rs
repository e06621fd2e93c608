//! Images moved by a matrix: bilinear samples at the transformed positions.

/// Rows give the input's x and y from the output's `(x, y, 1)`, in pixels from the centre of the first one.
pub type Affine = [[f32; 3]; 2];

pub const IDENTITY: Affine = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];

/// What stands outside of an image `a b c d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Fill {
    /// `d c b a | a b c d | d c b a`, for ever: Keras' `reflect`, torchvision's `symmetric`.
    Reflect = 1,
    /// `d c b | a b c d | c b a`, for ever: torchvision's `reflect`.
    Mirror = 2,
    /// `a a a a | a b c d | d d d d`: Keras' `nearest`, torchvision's `edge`.
    Nearest = 3,
    /// `a b c d | a b c d | a b c d`.
    Wrap = 4,
    /// Zeros of the image's bytes.
    Black = 5,
    /// Zeros of the normalised image: the mean of the data.
    Mean = 6,
}

/// The matrix of an image that is moved by `first`, and what comes of it by `next`.
pub fn compose(first: &Affine, next: &Affine) -> Affine {
    // Not one bit of a matrix that stands alone is lost.
    if *first == IDENTITY {
        return *next;
    }
    first.map(|[a, b, c]| {
        let column = |i: usize| a * next[0][i] + b * next[1][i];
        [column(0), column(1), column(2) + c]
    })
}

/// The matrix that turns an image upside down, left to right, or both.
pub fn mirrored([vertical, horizontal]: [bool; 2], [height, width]: [usize; 2]) -> Affine {
    let axis = |mirrored: bool, size: usize| if mirrored { (-1.0, (size - 1) as f32) } else { (1.0, 0.0) };
    let ((y, down), (x, right)) = (axis(vertical, height), axis(horizontal, width));
    [[x, 0.0, right], [0.0, y, down]]
}

/// Bilinear samples of `input` `[height, width, channels]` at the transformed positions; outside of it stands what
/// `fill` says. `black` is the value of byte 0 by channel.
pub fn resample(input: &[f32], output: &mut [f32], shape: [usize; 3], matrix: Affine, fill: Fill, black: &[f32]) {
    // With the number of channels a constant the inner loops unroll.
    match shape[2] {
        1 => with_channels::<1>(input, output, shape, matrix, fill, black),
        3 => with_channels::<3>(input, output, shape, matrix, fill, black),
        _ => with_channels::<0>(input, output, shape, matrix, fill, black),
    }
}

fn with_channels<const CHANNELS: usize>(
    input: &[f32],
    output: &mut [f32],
    shape: [usize; 3],
    matrix: Affine,
    fill: Fill,
    black: &[f32],
) {
    let mean = vec![0.0; shape[2]];
    match fill {
        Fill::Reflect => sample::<CHANNELS>(input, output, shape, matrix, &mean, |at, size| Some(reflect(at, size))),
        Fill::Mirror => sample::<CHANNELS>(input, output, shape, matrix, &mean, |at, size| Some(mirror(at, size))),
        Fill::Nearest => sample::<CHANNELS>(input, output, shape, matrix, &mean, |at, size| {
            Some(at.clamp(0, size as i32 - 1) as usize)
        }),
        Fill::Wrap => {
            sample::<CHANNELS>(
                input,
                output,
                shape,
                matrix,
                &mean,
                |at, size| Some(at.rem_euclid(size as i32) as usize),
            )
        }
        Fill::Black => sample::<CHANNELS>(input, output, shape, matrix, black, inside),
        Fill::Mean => sample::<CHANNELS>(input, output, shape, matrix, &mean, inside),
    }
}

/// `CHANNELS` 0 stands for any number. `place` tells which pixel stands at a position; where there is none, `outside`.
#[inline(always)]
fn sample<const CHANNELS: usize>(
    input: &[f32],
    output: &mut [f32],
    [height, width, channels]: [usize; 3],
    matrix: Affine,
    outside: &[f32],
    place: impl Fn(i32, usize) -> Option<usize>,
) {
    let channels = if CHANNELS == 0 { channels } else { CHANNELS };
    let outside = &outside[..channels];
    if let Some([right, down]) = whole_move(&matrix) {
        for (y, row) in output.chunks_exact_mut(width * channels).enumerate() {
            let from = place(y as i32 + down, height).map(|at| at * width * channels);
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                pixel.copy_from_slice(match (from, place(x as i32 + right, width)) {
                    (Some(from), Some(at)) => &input[from + at * channels..][..channels],
                    _ => outside,
                });
            }
        }
        return;
    }
    for (y, row) in output.chunks_exact_mut(width * channels).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let [from_x, from_y] = matrix.map(|[a, b, c]| a * x as f32 + b * y as f32 + c);
            let (left, top) = (from_x.floor(), from_y.floor());
            let (across, down) = (from_x - left, from_y - top);
            let (left, top) = (left as i32, top as i32);
            let columns = [left, left + 1].map(|at| place(at, width).map(|at| at * channels));
            let rows = [top, top + 1].map(|at| place(at, height).map(|at| at * width * channels));
            let corner = |row: usize, column: usize| match (rows[row], columns[column]) {
                (Some(row), Some(column)) => &input[row + column..][..channels],
                _ => outside,
            };
            let (a, b, c, d) = (corner(0, 0), corner(0, 1), corner(1, 0), corner(1, 1));
            for (channel, value) in pixel.iter_mut().enumerate() {
                let upper = a[channel] + across * (b[channel] - a[channel]);
                let lower = c[channel] + across * (d[channel] - c[channel]);
                *value = upper + down * (lower - upper);
            }
        }
    }
}

/// How far to the right and down an image's pixels come from, where they move by whole numbers of pixels. Samples are those
/// pixels then, for no image has a zero below zero.
fn whole_move(matrix: &Affine) -> Option<[i32; 2]> {
    let [[.., right], [.., down]] = *matrix;
    let still = *matrix == [[1.0, 0.0, right], [0.0, 1.0, down]];
    let whole = |by: f32| by.fract() == 0.0 && by.abs() < 1e6;
    (still && whole(right) && whole(down)).then_some([right as i32, down as i32])
}

/// The pixel that stands at position `at` of an axis that is mirrored at both edges, for ever.
#[inline(always)]
fn reflect(at: i32, size: usize) -> usize {
    if (at as u32) < size as u32 {
        return at as usize;
    }
    let size = size as i32;
    let folded = at.rem_euclid(2 * size);
    (if folded < size { folded } else { 2 * size - 1 - folded }) as usize
}

/// The same about the centre of the pixels at the edges, which stand there once.
#[inline(always)]
fn mirror(at: i32, size: usize) -> usize {
    let last = size as i32 - 1;
    if last == 0 {
        return 0;
    }
    let folded = at.rem_euclid(2 * last);
    (if folded <= last { folded } else { 2 * last - folded }) as usize
}

#[inline(always)]
fn inside(at: i32, size: usize) -> Option<usize> {
    ((at as u32) < size as u32).then_some(at as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Fill; 6] = [Fill::Reflect, Fill::Mirror, Fill::Nearest, Fill::Wrap, Fill::Black, Fill::Mean];

    #[test]
    fn what_stands_outside() {
        // One row of four pixels, moved by six to the right.
        let row = [1.0, 2.0, 3.0, 4.0];
        let moved = |fill: Fill, by: f32| {
            let mut output = [0.0; 4];
            resample(&row, &mut output, [1, 4, 1], [[1.0, 0.0, by], [0.0, 1.0, 0.0]], fill, &[-7.0]);
            output
        };
        let found = ALL.map(|fill| [moved(fill, -3.0), moved(fill, 3.0)]);
        assert_eq!(found[0], [[3.0, 2.0, 1.0, 1.0], [4.0, 4.0, 3.0, 2.0]]);
        assert_eq!(found[1], [[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]]);
        assert_eq!(found[2], [[1.0, 1.0, 1.0, 1.0], [4.0, 4.0, 4.0, 4.0]]);
        assert_eq!(found[3], [[2.0, 3.0, 4.0, 1.0], [4.0, 1.0, 2.0, 3.0]]);
        assert_eq!(found[4], [[-7.0, -7.0, -7.0, 1.0], [4.0, -7.0, -7.0, -7.0]]);
        assert_eq!(found[5], [[0.0, 0.0, 0.0, 1.0], [4.0, 0.0, 0.0, 0.0]]);
        assert_eq!(moved(Fill::Black, -0.5), [-3.0, 1.5, 2.5, 3.5]);
        // However far away.
        let seen: Vec<usize> = (-4..8).map(|at| reflect(at, 4)).collect();
        assert_eq!(seen, [3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0]);
        assert_eq!([reflect(-9, 1), mirror(-9, 1), mirror(-9, 2), mirror(13, 4)], [0, 0, 1, 1]);
    }

    #[test]
    fn whole_moves_keep_every_bit() {
        let shape = [5, 4, 3];
        let input: Vec<f32> = (0..60).map(|i| (i as f32 * 0.7).sin()).collect();
        let by = |matrix: Affine| {
            let mut output = vec![0.0; 60];
            resample(&input, &mut output, shape, matrix, Fill::Wrap, &[0.0; 3]);
            output
        };
        assert_eq!(by(IDENTITY), input);
        let flipped = by(mirrored([true, true], [5, 4]));
        let expected: Vec<f32> = input.chunks(3).rev().flatten().copied().collect();
        assert_eq!(flipped, expected);
        let both = compose(&mirrored([true, false], [5, 4]), &mirrored([true, true], [5, 4]));
        assert_eq!(both, mirrored([false, true], [5, 4]));
    }

    /// As next to no move at all samples them.
    #[test]
    fn whole_moves_are_samples() {
        let shape = [5, 4, 3];
        let input: Vec<f32> = (0..60).map(|i| (i as f32 * 0.7).sin()).collect();
        for fill in ALL {
            for [right, down] in [[0.0, 0.0], [3.0, -2.0], [-7.0, 1.0], [4.0, 13.0]] {
                let by = |across: f32| {
                    let mut output = vec![0.0; 60];
                    let matrix = [[1.0, across, right], [across, 1.0, down]];
                    resample(&input, &mut output, shape, matrix, fill, &[-1.0, 2.0, -3.0]);
                    output
                };
                // So little is lost where it is added to any pixel's place.
                let (whole, sampled) = (by(0.0), by(1e-30));
                for (at, (whole, sampled)) in whole.iter().zip(&sampled).enumerate() {
                    assert!((whole - sampled).abs() < 1e-6, "{fill:?} {right} {down} {at}: {whole} {sampled}");
                }
            }
        }
    }

    #[test]
    fn a_composed_matrix_is_one_after_the_other() {
        let first = [[0.8, -0.1, 2.0], [0.3, 1.1, -1.0]];
        let next = [[1.5, 0.25, 0.5], [-0.75, 0.5, 3.0]];
        let both = compose(&first, &next);
        let apply = |matrix: &Affine, [x, y]: [f32; 2]| matrix.map(|[a, b, c]| a * x + b * y + c);
        for point in [[0.0, 0.0], [3.0, -2.0], [10.0, 7.0]] {
            let expected = apply(&first, apply(&next, point));
            for (ours, theirs) in apply(&both, point).into_iter().zip(expected) {
                assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
            }
        }
        assert_eq!(compose(&IDENTITY, &next), next);
    }

    /// The same samples from a plain copy of the image that goes on by reflection.
    #[test]
    fn agrees_with_a_padded_image() {
        let [height, width, channels] = [7, 9, 3];
        let input: Vec<f32> = (0..height * width * channels).map(|value| (value as f32 * 0.7).sin()).collect();
        let matrix = [[0.92, -0.39, 1.3], [0.39, 0.92, -1.7]];
        let mut output = input.clone();
        resample(&input, &mut output, [height, width, channels], matrix, Fill::Reflect, &[0.0; 3]);
        let mirror = |at: i64, size: usize| {
            let order: Vec<usize> = (0..size).chain((0..size).rev()).collect();
            order[at.rem_euclid(order.len() as i64) as usize]
        };
        let at =
            |x: i64, y: i64, c: usize| f64::from(input[(mirror(y, height) * width + mirror(x, width)) * channels + c]);
        for (index, value) in output.iter().enumerate() {
            let (c, x, y) = (index % channels, index / channels % width, index / channels / width);
            let [sx, sy] = matrix.map(|[a, b, c]| f64::from(a) * x as f64 + f64::from(b) * y as f64 + f64::from(c));
            let (left, top) = (sx.floor(), sy.floor());
            let (u, v) = (sx - left, sy - top);
            let (left, top) = (left as i64, top as i64);
            let expected = (1.0 - v) * ((1.0 - u) * at(left, top, c) + u * at(left + 1, top, c))
                + v * ((1.0 - u) * at(left, top + 1, c) + u * at(left + 1, top + 1, c));
            assert!((f64::from(*value) - expected).abs() < 1e-5, "{index}: {value} {expected}");
        }
    }
}
