//! Which windows a convolution has, or its gradients have, and which lines of pixels they touch.

use crate::graph::ops::Windows;

/// Along one axis, windows over a source and the taps that they have there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    /// Places of the source.
    pub length: usize,
    /// Windows, and places from one to the next.
    pub count: usize,
    pub stride: usize,
    /// Where the first tap of the first window lies; before the source if negative.
    pub first: isize,
    pub taps: usize,
    /// Places from tap to tap.
    pub step: usize,
    /// Which of the kernel's the first tap is, and how many further the next one.
    pub tap: usize,
    pub tap_step: isize,
    /// Places of the result, which of them the first window makes, and how many further the next one.
    pub result: usize,
    pub from: usize,
    pub by: usize,
}

impl Axis {
    pub fn forward(windows: &Windows) -> Self {
        let &Windows { length, pool, dilation, stride, count, before } = windows;
        Self {
            length,
            count,
            stride,
            first: -(before as isize),
            taps: pool,
            step: dilation,
            tap: 0,
            tap_step: 1,
            result: count,
            from: 0,
            by: 1,
        }
    }

    /// The places `class`, `class + stride`, .. of the input: windows over the gradient of the result, by every so
    /// many taps in reverse. `None` where no tap meets them.
    pub fn gradient(windows: &Windows, class: usize) -> Option<Self> {
        let &Windows { length, pool, dilation, stride, count, before } = windows;
        let meets = |tap: usize| (class + before) as isize - (tap * dilation) as isize;
        // They are evenly spaced.
        let all: Vec<usize> = (0..pool).filter(|&tap| meets(tap) % stride as isize == 0).collect();
        let (&last, taps) = (all.last()?, all.len());
        let tap_step = if taps > 1 { all[1] - all[0] } else { 0 };
        Some(Self {
            length: count,
            count: (length - class).div_ceil(stride),
            stride: 1,
            first: meets(last) / stride as isize,
            taps,
            step: tap_step * dilation / stride,
            tap: last,
            tap_step: -(tap_step as isize),
            result: length,
            from: class,
            by: stride,
        })
    }

    /// All gradients' axes, `None` if some place gets nothing.
    pub fn gradients(windows: &Windows) -> Option<Vec<Self>> {
        (0..windows.stride.min(windows.length)).map(|class| Self::gradient(windows, class)).collect()
    }

    /// From the first window's first tap to the last one's last, both counted.
    pub fn padded(&self) -> usize {
        (self.count - 1) * self.stride + (self.taps - 1) * self.step + 1
    }
}

/// Windows over the height and the width of images, and the channels of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub images: usize,
    pub depth: usize,
    pub axes: [Axis; 2],
}

impl Geometry {
    /// Windows of an image.
    pub fn windows(&self) -> usize {
        self.axes[0].count * self.axes[1].count
    }

    pub fn taps(&self) -> usize {
        self.axes[0].taps * self.axes[1].taps
    }

    /// Lines that so many windows touch, from wherever a multiple of so many is.
    pub fn lines(&self, together: usize) -> usize {
        let [down, across] = &self.axes;
        let (windows, padded) = (self.windows(), down.padded());
        let line = |window: usize| window / windows * padded + window / across.count % down.count * down.stride;
        let starts = (self.images * windows).div_ceil(together).min(windows);
        let touched = |tile: usize| line((tile + 1) * together - 1) - line(tile * together);
        (0..starts).map(touched).max().unwrap_or(0) + (down.taps - 1) * down.step + 1
    }

    /// Elements of these lines in shared memory.
    pub fn halo(&self, lines: usize, chunk: usize) -> usize {
        lines * self.axes[1].padded().next_multiple_of(self.axes[1].stride) * (chunk + 8)
    }

    pub fn defines(&self, chunk: usize, lines: usize) -> Vec<(&'static str, String)> {
        let [down, across] = &self.axes;
        let numbers =
            |values: [(&'static str, &dyn ToString); 5]| values.map(|(name, value)| (name, value.to_string()));
        let mut defines = vec![
            ("HEIGHT", down.length.to_string()),
            ("WIDTH", across.length.to_string()),
            ("DEPTH", self.depth.to_string()),
            ("CHUNK", chunk.to_string()),
            ("HALO_ROWS", lines.to_string()),
        ];
        defines.extend(numbers([
            ("COUNT_ROWS", &down.count),
            ("STRIDE_ROWS", &down.stride),
            ("FIRST_ROWS", &down.first),
            ("TAP_ROWS", &down.taps),
            ("STEP_ROWS", &down.step),
        ]));
        defines.extend(numbers([
            ("COUNT_COLUMNS", &across.count),
            ("STRIDE_COLUMNS", &across.stride),
            ("FIRST_COLUMNS", &across.first),
            ("TAP_COLUMNS", &across.taps),
            ("STEP_COLUMNS", &across.step),
        ]));
        defines
    }
}
