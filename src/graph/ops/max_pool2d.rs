use std::any::Any;

use super::windows::{Pool2d, Windows, inside, nth, offsets, padded, spread, sum_over};
use crate::{
    graph::{Builder, Gradients, Operation, Value},
    onnx::{Dim, Tensor, Writer},
};

/// Less than every number of a tensor that trains: what lies beside an image.
const BESIDE: f32 = -1e30;

/// The maximum over windows of an image (`keras.layers.MaxPooling2D`): x `[batch, height, width, channels]`,
/// y `[batch, rows, columns, channels]` (`tf.nn.max_pool2d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d(pub Pool2d);

/// The input with [`BESIDE`] around it.
fn beside(builder: &mut Builder, x: &Value, windows: [Windows; 2]) -> Value {
    let ones = builder.constant(1.0, &x.shape);
    let ones = builder.prim_contiguous(ones);
    let [x, inside] = [x, &ones].map(|from| padded(builder, from, windows));
    // 1 within the image, 0 beside it: what is within stays as it is.
    let beside = builder.prim_affine(&inside, -BESIDE, BESIDE);
    builder.prim_add(&x, &beside)
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
        self.0.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![self.0.output_shape(inputs[0])]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.apply_one(MaxPool2dGradient(*self), &[&site.grads[0], &site.inputs[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let windows = self.0.windows_of(&inputs[0].shape);
        let padded = beside(builder, &inputs[0], windows);
        vec![maximum(builder, &padded, windows, self.0.pool)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        Some(self.0.onnx(writer, "MaxPool", &inputs[0], shape))
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
        let (Self(MaxPool2d(pool)), dy, x) = (self, &inputs[0], &inputs[1]);
        let windows = pool.windows_of(&x.shape);
        let from = beside(builder, x, windows);
        let largest = maximum(builder, &from, windows, pool.pool);
        // What is left of the gradient of each window.
        let mut left = dy.clone();
        let dx = sum_over(builder, pool.pool, |builder, offset| {
            let value = nth(builder, &from, windows, offset);
            let less = builder.prim_less_than(&value, &largest);
            let here = builder.prim_affine(&less, -1.0, 1.0);
            let taken = builder.prim_mul(&left, &here);
            left = builder.prim_mul(&left, &less);
            spread(builder, &taken, windows, offset)
        });
        vec![inside(builder, &dx, windows)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
