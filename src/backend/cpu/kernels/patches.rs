//! The patches of images under the windows of a convolution, as the rows of a matrix that is never there as a whole
//! (im2col; Chellapilla et al. 2006): only the piece that a product works on is copied.

use std::ops::Range;

use super::isa::multiversion;
use crate::graph::ops::Windows;

/// The matrix of patches of images `[images, height, width, channels]`: a row for each window of each image, in a row
/// the channels of one group, tap by tap: `[images * rows * columns, kernel height * kernel width * channels / groups]`.
#[derive(Debug, Clone, Copy)]
pub struct Patches {
    /// Along the height and the width.
    pub windows: [Windows; 2],
    /// Of the images.
    pub channels: usize,
    /// Into how many the channels are split, one after the other.
    pub groups: usize,
}

impl Patches {
    /// Rows of the matrix for one image.
    pub fn rows(&self) -> usize {
        self.windows[0].count * self.windows[1].count
    }

    /// Elements of a row.
    pub fn depth(&self) -> usize {
        self.windows[0].pool * self.windows[1].pool * self.channels / self.groups
    }

    fn image_len(&self) -> usize {
        self.windows[0].length * self.windows[1].length * self.channels
    }

    /// Where the elements `from..to` of a patch's line of taps lie: of a window in column `column`, whose line of the image
    /// begins at `start`. `place(elements, where)` is called for each run of them, in order; `None` is beside the image.
    #[inline(always)]
    fn line(
        &self,
        group: usize,
        column: usize,
        start: usize,
        (from, to): (usize, usize),
        mut place: impl FnMut(usize, usize, Option<usize>),
    ) {
        let across = &self.windows[1];
        let own = self.channels / self.groups;
        // The first tap's column, which may lie before the image.
        let left = (column * across.stride) as isize - across.before as isize;
        if own == self.channels && across.dilation == 1 {
            // The taps of a line lie side by side in the image.
            let at = start as isize + left * own as isize;
            if left >= 0 && left as usize + across.pool <= across.length {
                return place(from, to, Some(at as usize + from));
            }
            let before = ((-left).max(0) as usize * own).clamp(from, to);
            let end = ((across.length as isize - left).max(0) as usize * own).clamp(before, to);
            if from < before {
                place(from, before, None);
            }
            if before < end {
                place(before, end, Some((at + before as isize) as usize));
            }
            if end < to {
                place(end, to, None);
            }
            return;
        }
        for tap in from / own..to.div_ceil(own) {
            let (first, last) = (from.max(tap * own), to.min((tap + 1) * own));
            let x = left + (tap * across.dilation) as isize;
            let inside = (0..across.length as isize).contains(&x);
            let at = start as isize + x * self.channels as isize + (group * own + first - tap * own) as isize;
            place(first, last, inside.then_some(at as usize));
        }
    }

    /// For each line of taps that the elements `k` of a patch touch: what of it they are, where they begin among `k`, and
    /// where that line of the image begins, for windows of a row; `None` beside the image.
    #[inline(always)]
    fn lines(
        &self,
        row: usize,
        k: &Range<usize>,
    ) -> impl Iterator<Item = ((usize, usize), usize, Option<usize>)> + use<> {
        let [down, across] = self.windows;
        let line = across.pool * self.channels / self.groups;
        let (k, width) = (k.clone(), across.length * self.channels);
        (k.start / line..k.end.div_ceil(line)).map(move |tap| {
            let part = (k.start.max(tap * line) - tap * line, k.end.min((tap + 1) * line) - tap * line);
            let y = (row * down.stride + tap * down.dilation).wrapping_sub(down.before);
            (part, tap * line + part.0 - k.start, (y < down.length).then(|| y * width))
        })
    }

    /// The windows of some rows of the matrix, line by line of an image: image, row of windows, and its columns.
    #[inline(always)]
    fn runs(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, usize, Range<usize>)> + use<> {
        let ([down, across], mut next) = (self.windows, rows.start);
        std::iter::from_fn(move || {
            if next >= rows.end {
                return None;
            }
            let (line, column) = (next / across.count, next % across.count);
            let count = (across.count - column).min(rows.end - next);
            next += count;
            Some((line / down.count, line % down.count, column..column + count))
        })
    }
}

#[inline(always)]
fn gather_generic<const FMA: bool>(
    patches: &Patches,
    images: &[f32],
    group: usize,
    rows: Range<usize>,
    k: Range<usize>,
    out: &mut [f32],
    pitch: usize,
) {
    let len = patches.image_len();
    let mut first = 0;
    for (image, row, columns) in patches.runs(rows) {
        let image = &images[image * len..][..len];
        for (part, at, start) in patches.lines(row, &k) {
            for (index, column) in columns.clone().enumerate() {
                let out = &mut out[(first + index) * pitch + at..][..part.1 - part.0];
                match start {
                    None => out.fill(0.0),
                    Some(start) => patches.line(group, column, start, part, |from, to, place| {
                        let out = &mut out[from - part.0..to - part.0];
                        match place {
                            Some(place) => copy(&image[place..place + out.len()], out),
                            None => out.fill(0.0),
                        }
                    }),
                }
            }
        }
        first += columns.len();
    }
}

/// Short runs would not pay for a call of `memcpy`.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    const RUN: usize = 16;
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<RUN>(), to.as_chunks_mut::<RUN>());
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

#[inline(always)]
fn scatter_generic<const FMA: bool>(
    patches: &Patches,
    values: &[f32],
    group: usize,
    rows: Range<usize>,
    images: &mut [f32],
) {
    let (len, width) = (patches.image_len(), patches.depth());
    let mut first = 0;
    for (image, row, columns) in patches.runs(rows) {
        let image = &mut images[image * len..][..len];
        for (part, at, start) in patches.lines(row, &(0..width)) {
            let Some(start) = start else { continue };
            for (index, column) in columns.clone().enumerate() {
                let values = &values[(first + index) * width + at..];
                patches.line(group, column, start, part, |from, to, place| {
                    if let Some(place) = place {
                        let values = &values[from - part.0..to - part.0];
                        for (sum, value) in image[place..place + values.len()].iter_mut().zip(values) {
                            *sum += value;
                        }
                    }
                });
            }
        }
        first += columns.len();
    }
}

multiversion! {
    /// Copies some rows of the matrix, and of them the elements `k`, to rows that lie `pitch` apart.
    pub fn gather(
        patches: &Patches, images: &[f32], group: usize, rows: Range<usize>, k: Range<usize>, out: &mut [f32],
        pitch: usize,
    ) = gather_generic;
    /// Adds whole rows, of which `values` has some that lie one after the other, to where they were gathered from: the
    /// transpose of [`gather`].
    pub fn scatter(
        patches: &Patches, values: &[f32], group: usize, rows: Range<usize>, images: &mut [f32],
    ) = scatter_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::cpu::kernels::isa::tests::noise, graph::ops::Conv2d};

    const IMAGE: [usize; 2] = [6, 7];
    const CHANNELS: usize = 4;

    fn cases() -> impl Iterator<Item = Patches> {
        let kernels = [[1, 1], [3, 3], [2, 4], [5, 3]];
        let convs = [
            ([1, 1], [[0, 0], [0, 0]], [1, 1], 1),
            ([1, 1], [[1, 1], [2, 1]], [1, 1], 1),
            ([2, 3], [[0, 1], [3, 3]], [1, 1], 2),
            ([1, 2], [[4, 4], [4, 5]], [2, 2], 1),
            ([2, 1], [[4, 5], [6, 6]], [2, 3], 4),
        ];
        let pairs = kernels.into_iter().flat_map(move |kernel| convs.map(|conv| (kernel, conv)));
        pairs.map(|(kernel, (strides, padding, dilation, groups))| {
            let conv = Conv2d { strides, padding, dilation, groups };
            Patches { windows: conv.windows(IMAGE, kernel), channels: CHANNELS, groups }
        })
    }

    /// Where an element of the matrix lies, by its definition.
    fn place(patches: &Patches, group: usize, row: usize, k: usize) -> Option<usize> {
        let [down, across] = patches.windows;
        let own = patches.channels / patches.groups;
        let (image, window) = (row / patches.rows(), row % patches.rows());
        let (tap, channel) = (k / own, k % own);
        let y = (window / across.count * down.stride + tap / across.pool * down.dilation).checked_sub(down.before)?;
        let x =
            (window % across.count * across.stride + tap % across.pool * across.dilation).checked_sub(across.before)?;
        let inside = y < down.length && x < across.length;
        let pixel = (image * down.length + y) * across.length + x;
        inside.then_some(pixel * patches.channels + group * own + channel)
    }

    #[test]
    fn rows_are_what_lies_under_the_windows() {
        let images = noise(1, 2 * IMAGE[0] * IMAGE[1] * CHANNELS);
        for patches in cases() {
            let (rows, len) = (2 * patches.rows(), patches.depth());
            for group in 0..patches.groups {
                for k in [0..len, len / 3..len, 0..len / 2 + 1] {
                    let some = rows / 3..rows;
                    let mut out = vec![7.0; some.len() * (k.len() + 3)];
                    gather(&patches, &images, group, some.clone(), k.clone(), &mut out, k.len() + 3);
                    for (row, out) in some.zip(out.chunks(k.len() + 3)) {
                        let expected = k.clone().map(|k| place(&patches, group, row, k).map_or(0.0, |at| images[at]));
                        assert!(expected.chain([7.0; 3]).eq(out.iter().copied()), "{patches:?} {row} {k:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn scatter_is_the_transpose_of_gather() {
        for patches in cases() {
            let (rows, len) = (2 * patches.rows(), patches.depth());
            for group in 0..patches.groups {
                let values = noise(2, rows * len);
                let mut expected = vec![0.0; 2 * patches.image_len()];
                for (index, value) in values.iter().enumerate() {
                    if let Some(at) = place(&patches, group, index / len, index % len) {
                        expected[at] += value;
                    }
                }
                let mut images = vec![0.0; expected.len()];
                scatter(&patches, &values, group, 0..rows, &mut images);
                assert_eq!(images, expected, "{patches:?}");
            }
        }
    }
}
