use std::any::Any;

use super::windows::{Pool2d, Windows, inside, nth, padded, spread, sum_over};
use crate::{
    graph::{Builder, Gradients, Operation, Value},
    onnx::{Dim, Tensor, Writer},
};

/// The mean over windows of an image (`keras.layers.AveragePooling2D`): x `[batch, height, width, channels]`, y
/// `[batch, rows, columns, channels]`. What lies beside the image
/// is in no mean, as in TensorFlow (`tf.nn.avg_pool2d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AveragePool2d(pub Pool2d);

impl AveragePool2d {
    /// For each window one by how many pixels it has.
    pub(crate) fn shares(&self, shape: &[usize]) -> Vec<f32> {
        let [rows, columns] = self.0.windows_of(shape);
        let each = |row| (0..columns.count).map(move |column| (row, column));
        let share = |(row, column)| 1.0 / (rows.places(row).len() * columns.places(column).len()) as f32;
        (0..rows.count).flat_map(each).map(share).collect()
    }
}

/// The sum of each window of images.
fn sums(builder: &mut Builder, x: &Value, windows: [Windows; 2], pool: [usize; 2]) -> Value {
    let padded = padded(builder, x, windows);
    sum_over(builder, pool, |builder, offset| nth(builder, &padded, windows, offset))
}

/// One by how many pixels each window of images of a shape has: those that it sums over ones.
fn share(builder: &mut Builder, shape: &[usize], windows: [Windows; 2], pool: [usize; 2]) -> Value {
    let ones = builder.constant(1.0, shape);
    let ones = builder.prim_contiguous(ones);
    let count = sums(builder, &ones, windows, pool);
    builder.prim_recip(&count)
}

impl Operation for AveragePool2d {
    fn name(&self) -> &'static str {
        "average_pool2d"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.0.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![self.0.output_shape(inputs[0])]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let shape = &site.inputs[0].shape;
        let gradient = AveragePool2dGradient { pool: *self, size: [shape[1], shape[2]] };
        vec![Some(builder.apply_one(gradient, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (x, windows) = (&inputs[0], self.0.windows_of(&inputs[0].shape));
        let sums = sums(builder, x, windows, self.0.pool);
        let share = share(builder, &x.shape, windows, self.0.pool);
        vec![builder.prim_mul(&sums, &share)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        // What lies beside the image counts in no mean, which is ONNX' default.
        Some(self.0.onnx(writer, "AveragePool", &inputs[0], shape))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The gradient of each window goes to its pixels in equal shares. Input dy `[batch, rows, columns, channels]`; output
/// dx `[batch, height, width, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AveragePool2dGradient {
    /// Whose gradient it is.
    pub pool: AveragePool2d,
    /// Height and width of the input.
    pub size: [usize; 2],
}

impl AveragePool2dGradient {
    /// The shape of the pool's input.
    pub(crate) fn of(&self, dy: &[usize]) -> [usize; 4] {
        [dy[0], self.size[0], self.size[1], dy[3]]
    }
}

impl Operation for AveragePool2dGradient {
    fn name(&self) -> &'static str {
        "average_pool2d_gradient"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.pool.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![self.of(inputs[0]).to_vec()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (dy, shape) = (&inputs[0], self.of(&inputs[0].shape));
        let (pool, windows) = (self.pool.0.pool, self.pool.0.windows_of(&shape));
        let share = share(builder, &shape, windows, pool);
        let share = builder.prim_mul(dy, &share);
        let dx = sum_over(builder, pool, |builder, offset| spread(builder, &share, windows, offset));
        vec![inside(builder, &dx, windows)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
