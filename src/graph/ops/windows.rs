//! Windows that move over the axes of an image, and the words in which what happens in them is decomposed.

use super::{around, viewed};
use crate::{
    graph::{Builder, Value, primitives::View},
    onnx::{Attribute, Dim, Tensor, Writer},
};

/// Windows along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Of the input.
    pub length: usize,
    /// Places of a window, and how far they lie apart.
    pub pool: usize,
    /// From place to place of a window; 1 where they lie side by side.
    pub dilation: usize,
    /// From window to window.
    pub stride: usize,
    /// How many windows.
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

    /// How many places windows reach to before the input and after it.
    pub fn beside(&self) -> [usize; 2] {
        let end = (self.count - 1) * self.stride + self.reach();
        [self.before, end.saturating_sub(self.length + self.before)]
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

/// `[[above, below], [left, right]]` as ONNX has `pads`: those before all axes, then those after.
pub(super) fn sides([[above, below], [left, right]]: [[usize; 2]; 2]) -> [usize; 4] {
    [above, left, below, right]
}

/// Windows of a pool over the height and the width of images.
///
/// Without `same` only windows that lie within the image count: `(length - pool) / stride + 1` of them along an axis.
/// With it there are `length / stride`, rounded up, and what they lack is shared by both sides, the odd pixel below and
/// right, as TensorFlow does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width of a window.
    pub pool: [usize; 2],
    /// From window to window.
    pub strides: [usize; 2],
    /// Whether the input is padded so that there are `ceil(length / stride)` windows; otherwise all lie inside.
    pub same: bool,
}

impl Pool2d {
    /// The windows along the height or the width, of this length.
    ///
    /// # Panics
    /// Where no window fits.
    pub(crate) fn windows(&self, axis: usize, length: usize) -> Windows {
        let (pool, stride) = (self.pool[axis], self.strides[axis]);
        if self.same {
            Windows::same(length, pool, stride, 1)
        } else {
            Windows::padded_by(length, pool, stride, 1, [0; 2])
        }
    }

    /// The windows of an input `[batch, height, width, channels]`.
    ///
    /// # Panics
    /// As [`Pool2d::windows`].
    pub(crate) fn windows_of(&self, shape: &[usize]) -> [Windows; 2] {
        let &[_, height, width, _] = shape else { panic!("a pool: {shape:?} is no batch of images") };
        [self.windows(0, height), self.windows(1, width)]
    }

    /// The shape of what a pool makes of an input.
    ///
    /// # Panics
    /// As [`Pool2d::windows`].
    pub(crate) fn output_shape(&self, shape: &[usize]) -> Vec<usize> {
        let [rows, columns] = self.windows_of(shape);
        vec![shape[0], rows.count, columns.count, shape[3]]
    }

    /// As an operator of ONNX that takes a pool's attributes; `shape` is that of the result.
    pub(super) fn onnx(&self, writer: &mut Writer, operator: &str, x: &Tensor, shape: &[Dim]) -> Tensor {
        let lengths = [1, 2].map(|axis| x.shape[axis].fixed().unwrap_or_else(|| panic!("{operator}: {:?}", x.shape)));
        let beside = [0, 1].map(|axis| self.windows(axis, lengths[axis]).beside());
        let attributes = vec![
            Attribute::ints("kernel_shape", self.pool),
            Attribute::ints("strides", self.strides),
            Attribute::ints("pads", sides(beside)),
        ];
        writer.channels_second(x, shape, |writer, x, shape| writer.node(operator, &[x], attributes, shape))
    }

    pub(super) fn attributes(&self) -> Vec<(&'static str, String)> {
        let padding = if self.same { "same" } else { "valid" };
        vec![
            ("pool", format!("{:?}", self.pool)),
            ("strides", format!("{:?}", self.strides)),
            ("padding", padding.to_owned()),
        ]
    }
}

/// An image with zeros around it, where windows reach.
pub(super) fn padded(builder: &mut Builder, x: &Value, windows: [Windows; 2]) -> Value {
    let beside = |x, (axis, windows)| zeros_beside(builder, &x, axis + 1, windows);
    windows.into_iter().enumerate().fold(x.clone(), beside)
}

/// A tensor with zeros beside it along an axis, where windows reach.
fn zeros_beside(builder: &mut Builder, x: &Value, axis: usize, windows: Windows) -> Value {
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

/// Adds to a sum that may have nothing yet.
pub(super) fn add_to(builder: &mut Builder, sum: &mut Option<Value>, value: Value) {
    *sum = Some(match sum.take() {
        Some(sum) => builder.prim_add(&sum, &value),
        None => value,
    });
}

/// The sum of what `at` makes of each place of a window.
pub(super) fn sum_over(
    builder: &mut Builder,
    pool: [usize; 2],
    mut at: impl FnMut(&mut Builder, [usize; 2]) -> Value,
) -> Value {
    let mut sum = None;
    for offset in offsets(pool) {
        let value = at(builder, offset);
        add_to(builder, &mut sum, value);
    }
    sum.unwrap_or_else(|| unreachable!("a window has a place"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_of_tensorflow() {
        let windows = |length, pool, stride, same| {
            let windows = Pool2d { pool: [pool; 2], strides: [stride; 2], same }.windows(0, length);
            (0..windows.count).map(|window| windows.places(window)).collect::<Vec<_>>()
        };
        assert_eq!(windows(7, 2, 2, false), [0..2, 2..4, 4..6]);
        assert_eq!(windows(7, 2, 2, true), [0..2, 2..4, 4..6, 6..7]);
        // An odd number of pixels lacks: one more of them below than above.
        assert_eq!(windows(6, 3, 2, true), [0..3, 2..5, 4..6]);
        assert_eq!(windows(5, 3, 1, true), [0..2, 0..3, 1..4, 2..5, 3..5]);
        assert_eq!(windows(5, 4, 1, true), [0..3, 0..4, 1..5, 2..5, 3..5]);
        assert_eq!(windows(7, 1, 3, true), [0..1, 3..4, 6..7]);
        assert_eq!(windows(4, 3, 1, false), [0..3, 1..4]);
    }
}
