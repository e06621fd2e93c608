use std::any::Any;

use super::viewed;
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Adds [`AWAY`] to the scores of tokens that a cyclic shift has brought into one window from two ends of the image: Liu et
/// al. 2021 (Swin), section 3.2. x is `[batch, rows, columns, heads, tokens, tokens]`, of a grid of windows. `window` and
/// `shift` are in rows and columns of tokens; the image was rolled back by `shift`, so that the last windows of each column
/// end in `shift` rows from its beginning, and those of each row likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskWindows {
    /// Of a window.
    pub window: [usize; 2],
    /// By which the image was rolled back: at least 1, and less than the window.
    pub shift: [usize; 2],
}

/// What is added to such a score, as in the authors' code.
pub const AWAY: f32 = -100.0;

impl MaskWindows {
    /// Tokens of a window.
    pub(crate) fn tokens(&self) -> usize {
        self.window[0] * self.window[1]
    }

    /// What is added in windows of the last row or not, of the last column or not: `[tokens, tokens]`.
    pub(crate) fn table(&self, last: [bool; 2]) -> Vec<f32> {
        let beyond = |token: usize| {
            let place = [token / self.window[1], token % self.window[1]];
            [0, 1].map(|axis| last[axis] && place[axis] + self.shift[axis] >= self.window[axis])
        };
        let tokens = self.tokens();
        let pairs = (0..tokens * tokens).map(|pair| (beyond(pair / tokens), beyond(pair % tokens)));
        pairs.map(|(query, key)| if query == key { 0.0 } else { AWAY }).collect()
    }
}

/// Ones behind zeros, `[zeros + ones]`.
fn ones_behind(builder: &mut Builder, zeros: usize, ones: usize) -> Value {
    let one = builder.constant(1.0, &[ones]);
    let one = builder.prim_contiguous(one);
    builder.prim_contiguous(View::from(&one).pad(0, zeros, 0))
}

/// `a + b - 2 a b` or `a + b - a b` of numbers that are 0 or 1: whether they differ, or one of them is 1.
fn both(builder: &mut Builder, a: View, b: View, less: f32) -> Value {
    let product = builder.prim_mul(a.clone(), b.clone());
    let less = builder.prim_affine(&product, -less, 0.0);
    let sum = builder.prim_add(a, b);
    builder.prim_add(&sum, &less)
}

impl Operation for MaskWindows {
    fn name(&self) -> &'static str {
        "mask_windows"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("window", format!("{:?}", self.window)), ("shift", format!("{:?}", self.shift))]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let &[_, _, _, _, tokens, sources] = inputs[0] else { panic!("windows: {:?}", inputs[0]) };
        assert!(tokens == self.tokens() && sources == tokens, "{self:?} of {:?}", inputs[0]);
        let within = |axis: usize| (1..self.window[axis]).contains(&self.shift[axis]);
        assert!(within(0) && within(1), "{self:?}");
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(site.grads[0].clone())]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let &[batch, rows, columns, heads, tokens, _] = &inputs[0].shape[..] else { panic!("windows") };
        let ([height, width], [down, across]) = (self.window, self.shift);
        // Which tokens of a last window come from the other end.
        let below = ones_behind(builder, (height - down) * width, down * width);
        let beside = ones_behind(builder, width - across, across);
        let beside = builder.prim_contiguous(View::from(&beside).expand(0, height));
        let beside = viewed(&beside, &[tokens]);
        let [below, beside] = [below, beside].map(|ends| {
            let pairs = both(builder, View::from(&ends).expand(1, tokens), View::from(&ends).expand(0, tokens), 2.0);
            viewed(&pairs, &[tokens * tokens])
        });
        let in_last = |builder: &mut Builder, count: usize, pairs: &Value| {
            let last = ones_behind(builder, count - 1, 1);
            builder.prim_mul(View::from(&last).expand(1, tokens * tokens), View::from(pairs).expand(0, count))
        };
        let below = in_last(builder, rows, &below);
        let beside = in_last(builder, columns, &beside);
        let either = both(builder, View::from(&below).expand(1, columns), View::from(&beside).expand(0, rows), 1.0);
        let mask = builder.prim_affine(&either, AWAY, 0.0);
        let mask = viewed(&mask, &[rows * columns, tokens * tokens]);
        let x = viewed(&inputs[0], &[batch, rows * columns, heads, tokens * tokens]);
        let y = builder.prim_add(&x, View::from(&mask).expand(1, heads).expand(0, batch));
        vec![viewed(&y, &inputs[0].shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let (rows, columns, tokens) = (shape[1].fixed()?, shape[2].fixed()?, self.tokens());
        let windows =
            (0..rows).flat_map(|row| (0..columns).map(move |column| [row + 1 == rows, column + 1 == columns]));
        let mask = windows.flat_map(|last| self.table(last)).collect();
        let mask = writer.floats(&[rows, columns, 1, tokens, tokens], mask);
        Some(writer.binary("Add", &inputs[0], &mask))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
