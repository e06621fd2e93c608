use std::any::Any;

use super::windows::{Windows, inside, nth, offsets, spread, zeros_beside};
use crate::graph::{Builder, Gradients, Operation, Value};

/// Less than every number of a tensor that trains: what lies beside an image.
const BESIDE: f32 = -1e30;

/// The maximum over windows of an image (`keras.layers.MaxPooling2D`): x `[batch, height, width, channels]`,
/// y `[batch, rows, columns, channels]`.
///
/// Without `same` only windows that lie within the image count: `(length - pool) / stride + 1` of them along an axis.
/// With it there are `length / stride`, rounded up, and what they lack is shared by both sides, the odd pixel below and
/// right, as TensorFlow does it (`tf.nn.max_pool2d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Height and width of a window.
    pub pool: [usize; 2],
    /// From window to window.
    pub strides: [usize; 2],
    pub same: bool,
}

impl MaxPool2d {
    /// The windows along the height or the width, of this length.
    ///
    /// # Panics
    /// Where no window fits.
    pub(crate) fn windows(&self, axis: usize, length: usize) -> Windows {
        let (pool, stride) = (self.pool[axis], self.strides[axis]);
        assert!(self.same || length >= pool, "max_pool2d: a window of {pool} in {length}");
        if self.same {
            Windows::same(length, pool, stride, 1)
        } else {
            Windows::padded_by(length, pool, stride, 1, [0; 2])
        }
    }

    /// The windows of an input of this shape.
    pub(crate) fn windows_of(&self, shape: &[usize]) -> [Windows; 2] {
        let &[_, height, width, _] = shape else { panic!("max_pool2d: {shape:?} is no batch of images") };
        [self.windows(0, height), self.windows(1, width)]
    }
}

/// The input with what lies beside it.
fn padded(builder: &mut Builder, x: &Value, windows: [Windows; 2], beside: f32) -> Value {
    let (mut x, mut inside) = (x.clone(), None);
    if beside != 0.0 {
        let ones = builder.constant(1.0, &x.shape);
        inside = Some(builder.prim_contiguous(ones));
    }
    for (axis, windows) in windows.into_iter().enumerate() {
        x = zeros_beside(builder, &x, axis + 1, windows);
        inside = inside.map(|inside| zeros_beside(builder, &inside, axis + 1, windows));
    }
    match inside {
        // 1 within the image, 0 beside it: what is within stays as it is.
        Some(inside) => {
            let beside = builder.prim_affine(&inside, -beside, beside);
            builder.prim_add(&x, &beside)
        }
        None => x,
    }
}

/// `a` where `condition` is 1, `b` where it is 0.
fn choose(builder: &mut Builder, condition: &Value, a: &Value, b: &Value) -> Value {
    let a = builder.prim_mul(a, condition);
    let other = builder.prim_affine(condition, -1.0, 1.0);
    let b = builder.prim_mul(b, &other);
    builder.prim_add(&a, &b)
}

/// The maximum of each window of a padded input.
fn maximum(builder: &mut Builder, padded: &Value, windows: [Windows; 2], pool: [usize; 2]) -> Value {
    let mut largest = nth(builder, padded, windows, [0, 0]);
    for offset in offsets(pool).skip(1) {
        let next = nth(builder, padded, windows, offset);
        let larger = builder.prim_less_than(&largest, &next);
        largest = choose(builder, &larger, &next, &largest);
    }
    largest
}

impl Operation for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let padding = if self.same { "same" } else { "valid" };
        vec![
            ("pool", format!("{:?}", self.pool)),
            ("strides", format!("{:?}", self.strides)),
            ("padding", padding.to_owned()),
        ]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let [rows, columns] = self.windows_of(inputs[0]);
        vec![vec![inputs[0][0], rows.count, columns.count, inputs[0][3]]]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.apply_one(MaxPool2dGradient(*self), &[&site.grads[0], &site.inputs[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let windows = self.windows_of(&inputs[0].shape);
        let padded = padded(builder, &inputs[0], windows, BESIDE);
        vec![maximum(builder, &padded, windows, self.pool)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The gradient of each window goes to its first maximum, row by row, as in TensorFlow. Inputs dy and the pool's
/// input x; output dx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2dGradient(pub MaxPool2d);

impl Operation for MaxPool2dGradient {
    fn name(&self) -> &'static str {
        "max_pool2d_gradient"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.0.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[1].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (Self(pool), dy, x) = (self, &inputs[0], &inputs[1]);
        let windows = pool.windows_of(&x.shape);
        let from = padded(builder, x, windows, BESIDE);
        let largest = maximum(builder, &from, windows, pool.pool);
        // What is left of the gradient of each window.
        let (mut left, mut sum) = (dy.clone(), None);
        for offset in offsets(pool.pool) {
            let value = nth(builder, &from, windows, offset);
            let less = builder.prim_less_than(&value, &largest);
            let here = builder.prim_affine(&less, -1.0, 1.0);
            let taken = builder.prim_mul(&left, &here);
            left = builder.prim_mul(&left, &less);
            let taken = spread(builder, &taken, windows, offset);
            sum = Some(match sum {
                Some(sum) => builder.prim_add(&sum, &taken),
                None => taken,
            });
        }
        let dx = sum.unwrap_or_else(|| unreachable!("a window has a place"));
        vec![inside(builder, &dx, windows)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_of_tensorflow() {
        let windows = |length, pool, stride, same| {
            let windows = MaxPool2d { pool: [pool; 2], strides: [stride; 2], same }.windows(0, length);
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
