use super::super::vector::{LANES, Vector, load};
use crate::graph::ops::Windows;

/// Floats of a band: it stays in the first level of the cache, with its kernel and what is written.
const FLOATS: usize = 7 * 1024;

/// One axis of sums of taps: window `i` sums, over taps `t`, the entry at place `i stride + t dilation - before` times tap
/// `t`. Entries lie `spread` places apart, with zeros between them and beside them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub length: usize,
    pub spread: usize,
    pub taps: usize,
    pub dilation: usize,
    pub stride: usize,
    pub before: isize,
    pub count: usize,
}

impl Axis {
    pub fn of(windows: &Windows) -> Self {
        let Windows { length, pool, dilation, stride, count, before } = *windows;
        Self { length, spread: 1, taps: pool, dilation, stride, before: before as isize, count }
    }

    /// From windows back to the input: a convolution as well, by the taps in reverse.
    pub fn back(windows: &Windows) -> Self {
        let Windows { length, pool, dilation, stride, count, before } = *windows;
        let before = (windows.reach() - 1) as isize - before as isize;
        Self { length: count, spread: stride, taps: pool, dilation, stride: 1, before, count: length }
    }

    /// How many places so many windows see.
    pub fn seen(&self, windows: usize) -> usize {
        (windows - 1) * self.stride + (self.taps - 1) * self.dilation + 1
    }

    /// The entry at a place, counted from the first that the first window sees.
    fn entry(&self, place: usize) -> Option<usize> {
        let at = usize::try_from(place as isize - self.before).ok()?;
        (at.is_multiple_of(self.spread) && at / self.spread < self.length).then_some(at / self.spread)
    }
}

/// What is copied of images for some of their channels: `[places down, places across, LANES]`, some windows at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bands {
    pub axes: [Axis; 2],
    /// Lines of windows in a band; the last one may have fewer.
    pub rows: usize,
    /// Floats from a line of a band to the next.
    pub pitch: usize,
}

impl Bands {
    /// With `beside` floats more for each line of windows.
    pub fn new(axes: [Axis; 2], beside: usize) -> Self {
        let [down, across] = axes;
        let pitch = across.seen(across.count) * LANES;
        let fits = |rows: &usize| down.seen(*rows) * pitch + rows * beside <= FLOATS;
        let most = (1..=down.count).take_while(fits).last().unwrap_or(1);
        // Bands of about the same size: lines between two are copied for both.
        let rows = down.count.div_ceil(down.count.div_ceil(most));
        Self { axes, rows, pitch }
    }

    /// Floats of a band.
    pub fn len(&self) -> usize {
        self.axes[0].seen(self.rows) * self.pitch
    }

    /// The first line of windows of each band, and how many lines it has.
    pub fn each(self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.axes[0].count;
        (0..count).step_by(self.rows).map(move |first| (first, self.rows.min(count - first)))
    }

    /// Copies what `rows` lines of windows from `first` on see of an image, `width` of its `channels` from `x` on.
    ///
    /// # Safety
    /// As [`Vector`]; `x` is valid for the image from a channel on of which `width` follow, `to` for a band.
    #[inline(always)]
    pub unsafe fn copy<V: Vector>(
        &self,
        (first, rows): (usize, usize),
        x: *const f32,
        (channels, width): (usize, usize),
        to: *mut f32,
    ) {
        let [down, across] = self.axes;
        let columns = self.pitch / LANES;
        // The first entry that is seen, and its place.
        let from = usize::try_from(-across.before).unwrap_or(0).div_ceil(across.spread);
        let start = ((from * across.spread) as isize + across.before) as usize;
        let entries = columns.saturating_sub(start).div_ceil(across.spread).min(across.length.saturating_sub(from));
        // SAFETY: places are within a band, and entries within the image.
        unsafe {
            let zero = V::splat(0.0);
            for place in 0..down.seen(rows) {
                let line = to.add(place * self.pitch);
                let Some(y) = down.entry(first * down.stride + place) else {
                    for column in 0..columns {
                        zero.store(line.add(column * LANES));
                    }
                    continue;
                };
                let dense = across.spread == 1 && entries > 0;
                let left = if dense { start } else { columns };
                for column in 0..left {
                    zero.store(line.add(column * LANES));
                }
                let x = x.add((y * across.length + from) * channels);
                for entry in 0..entries {
                    let value: V = load(x.add(entry * channels), width, 0.0);
                    value.store(line.add((start + entry * across.spread) * LANES));
                }
                for column in start + entries..if dense { columns } else { 0 } {
                    zero.store(line.add(column * LANES));
                }
            }
        }
    }
}
