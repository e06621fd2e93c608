//! Windows that move over the axes of an image, and the words in which what happens in them is decomposed.

use super::{around, viewed};
use crate::graph::{Builder, Value, primitives::View};

/// Windows along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Of the input.
    pub length: usize,
    /// Places of a window, and how far they lie apart.
    pub pool: usize,
    pub dilation: usize,
    pub stride: usize,
    pub count: usize,
    /// How far the first begins before the input.
    pub before: usize,
}

impl Windows {
    /// As many windows as strides begin in the input. What they lack is shared by both sides, the odd place at the end,
    /// as TensorFlow's `SAME` has it.
    pub fn same(length: usize, pool: usize, stride: usize, dilation: usize) -> Self {
        let count = length.div_ceil(stride);
        let reach = (pool - 1) * dilation + 1;
        let lacking = ((count - 1) * stride + reach).saturating_sub(length);
        Self { length, pool, dilation, stride, count, before: lacking / 2 }
    }

    /// The windows that lie within the input and the places that are put before and after it.
    ///
    /// # Panics
    /// Where none does.
    pub fn padded_by(length: usize, pool: usize, stride: usize, dilation: usize, [before, after]: [usize; 2]) -> Self {
        let reach = (pool - 1) * dilation + 1;
        let room = length + before + after;
        assert!(room >= reach, "a window of {reach} in {room}");
        Self { length, pool, dilation, stride, count: (room - reach) / stride + 1, before }
    }

    /// Of windows without strides those by which a place of the input finds the windows that it is in, with taps in
    /// reverse.
    pub fn turned(self) -> Self {
        debug_assert!(self.stride == 1 && self.before < self.reach());
        Self { length: self.count, count: self.length, before: self.reach() - 1 - self.before, ..self }
    }

    /// From the first place of a window to its last, both counted.
    pub fn reach(&self) -> usize {
        (self.pool - 1) * self.dilation + 1
    }

    /// The input's places in the window of a number.
    pub fn places(&self, window: usize) -> std::ops::Range<usize> {
        debug_assert_eq!(self.dilation, 1);
        let end = window * self.stride + self.pool;
        (window * self.stride).saturating_sub(self.before)..end.saturating_sub(self.before).min(self.length)
    }

    /// Length with what lies beside the input, so that each place of a window has `count * stride` places from it on.
    fn padded(&self) -> usize {
        self.reach() - 1 + self.count * self.stride
    }
}

/// A tensor with zeros beside it along an axis, where windows reach.
pub(super) fn zeros_beside(builder: &mut Builder, x: &Value, axis: usize, windows: Windows) -> Value {
    let after = windows.padded() - windows.before - windows.length;
    let mut shape = x.shape.clone();
    shape[axis] = windows.padded();
    let padded = View::from(&viewed(x, &around(&x.shape, axis))).pad(1, windows.before, after);
    viewed(&builder.prim_contiguous(padded), &shape)
}

/// Of a padded tensor the place of each window that is this far from its first.
pub(super) fn nth(builder: &mut Builder, x: &Value, windows: [Windows; 2], offsets: [usize; 2]) -> Value {
    let mut x = x.clone();
    for (axis, (windows, offset)) in windows.into_iter().zip(offsets).enumerate() {
        let [outer, _, inner] = around(&x.shape, axis + 1);
        let mut shape = x.shape.clone();
        shape[axis + 1] = windows.count;
        let from = View::from(&viewed(&x, &around(&x.shape, axis + 1))).slice(
            1,
            offset * windows.dilation,
            windows.count * windows.stride,
        );
        let from = viewed(&builder.prim_contiguous(from), &[outer * windows.count, windows.stride, inner]);
        x = viewed(&builder.prim_contiguous(View::from(&from).slice(1, 0, 1)), &shape);
    }
    x
}

/// The transpose of [`nth`]: zeros at all other places.
pub(super) fn spread(builder: &mut Builder, x: &Value, windows: [Windows; 2], offsets: [usize; 2]) -> Value {
    let mut x = x.clone();
    for (axis, (windows, offset)) in windows.into_iter().zip(offsets).enumerate() {
        let [outer, _, inner] = around(&x.shape, axis + 1);
        let mut shape = x.shape.clone();
        shape[axis + 1] = windows.padded();
        let apart = View::from(&viewed(&x, &[outer * windows.count, 1, inner])).pad(1, 0, windows.stride - 1);
        let apart = viewed(&builder.prim_contiguous(apart), &[outer, windows.count * windows.stride, inner]);
        let before = offset * windows.dilation;
        let after = windows.reach() - 1 - before;
        x = viewed(&builder.prim_contiguous(View::from(&apart).pad(1, before, after)), &shape);
    }
    x
}

/// The places of a window, row by row.
pub(super) fn offsets(pool: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..pool[0]).flat_map(move |row| (0..pool[1]).map(move |column| [row, column]))
}

/// Of a padded tensor what is within the image.
pub(super) fn inside(builder: &mut Builder, x: &Value, windows: [Windows; 2]) -> Value {
    let mut x = x.clone();
    for (axis, windows) in windows.into_iter().enumerate() {
        let mut shape = x.shape.clone();
        shape[axis + 1] = windows.length;
        let inside = View::from(&viewed(&x, &around(&x.shape, axis + 1))).slice(1, windows.before, windows.length);
        x = viewed(&builder.prim_contiguous(inside), &shape);
    }
    x
}
