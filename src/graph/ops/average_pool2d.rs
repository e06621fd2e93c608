use std::any::Any;

use super::windows::{Windows, inside, nth, offsets, spread, zeros_beside};
use crate::graph::{Builder, Gradients, Operation, Value};

/// The mean over windows of an image (`keras.layers.AveragePooling2D`): x `[batch, height, width, channels]`, y
/// `[batch, rows, columns, channels]`. Windows are those of [`MaxPool2d`](super::MaxPool2d); what lies beside the image
/// is in no mean, as in TensorFlow (`tf.nn.avg_pool2d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AveragePool2d {
    /// Height and width of a window.
    pub pool: [usize; 2],
    /// From window to window.
    pub strides: [usize; 2],
    pub same: bool,
}

impl AveragePool2d {
    /// The windows of an input of this shape.
    ///
    /// # Panics
    /// Where none fits.
    pub(crate) fn windows_of(&self, shape: &[usize]) -> [Windows; 2] {
        let &[_, height, width, _] = shape else { panic!("average_pool2d: {shape:?} is no batch of images") };
        let windows = |axis: usize, length: usize| {
            let (pool, stride) = (self.pool[axis], self.strides[axis]);
            if self.same {
                Windows::same(length, pool, stride, 1)
            } else {
                Windows::padded_by(length, pool, stride, 1, [0; 2])
            }
        };
        [windows(0, height), windows(1, width)]
    }

    /// For each window one by how many pixels it has.
    pub(crate) fn shares(&self, shape: &[usize]) -> Vec<f32> {
        let [rows, columns] = self.windows_of(shape);
        let each = |row| (0..columns.count).map(move |column| (row, column));
        let share = |(row, column)| 1.0 / (rows.places(row).len() * columns.places(column).len()) as f32;
        (0..rows.count).flat_map(each).map(share).collect()
    }
}

impl Operation for AveragePool2d {
    fn name(&self) -> &'static str {
        "average_pool2d"
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
        let shape = &site.inputs[0].shape;
        let gradient = AveragePool2dGradient { pool: *self, size: [shape[1], shape[2]] };
        vec![Some(builder.apply_one(gradient, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (x, windows) = (&inputs[0], self.windows_of(&inputs[0].shape));
        let ones = builder.constant(1.0, &x.shape);
        let ones = builder.prim_contiguous(ones);
        let sums = [x.clone(), ones].map(|from| {
            let mut padded = from;
            for (axis, windows) in windows.into_iter().enumerate() {
                padded = zeros_beside(builder, &padded, axis + 1, windows);
            }
            let mut sum = nth(builder, &padded, windows, [0, 0]);
            for offset in offsets(self.pool).skip(1) {
                let next = nth(builder, &padded, windows, offset);
                sum = builder.prim_add(&sum, &next);
            }
            sum
        });
        let share = builder.prim_recip(&sums[1]);
        vec![builder.prim_mul(&sums[0], &share)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The gradient of each window goes to its pixels in equal shares. Input dy `[batch, rows, columns, channels]`; output
/// dx `[batch, height, width, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AveragePool2dGradient {
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
        let windows = self.pool.windows_of(&shape);
        // How many pixels a window has: its sum over ones.
        let ones = builder.constant(1.0, &shape);
        let mut counted = builder.prim_contiguous(ones);
        for (axis, windows) in windows.into_iter().enumerate() {
            counted = zeros_beside(builder, &counted, axis + 1, windows);
        }
        let mut count = nth(builder, &counted, windows, [0, 0]);
        for offset in offsets(self.pool.pool).skip(1) {
            let next = nth(builder, &counted, windows, offset);
            count = builder.prim_add(&count, &next);
        }
        let share = builder.prim_recip(&count);
        let share = builder.prim_mul(dy, &share);
        let mut sum = spread(builder, &share, windows, [0, 0]);
        for offset in offsets(self.pool.pool).skip(1) {
            let there = spread(builder, &share, windows, offset);
            sum = builder.prim_add(&sum, &there);
        }
        vec![inside(builder, &sum, windows)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
