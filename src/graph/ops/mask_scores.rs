use std::any::Any;

use super::{
    attention::LEFT_OUT,
    lookup::{left_out, prim_identity},
    viewed,
};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Adds so little to some scores of an attention that a softmax leaves them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskScores {
    /// Those of a token and itself: x is `[.., tokens, tokens]`.
    Diagonal,
    /// Those of tokens that a cyclic shift has brought into one window from two ends of the image: Liu et al. 2021 (Swin),
    /// section 3.2. x is `[batch, rows, columns, heads, tokens, tokens]`, of a grid of windows. `window` and `shift` are in
    /// rows and columns of tokens; the image was rolled back by `shift`, so that the last windows of each column end in
    /// `shift` rows from its beginning, and those of each row likewise.
    Windows {
        /// Of a window.
        window: [usize; 2],
        /// By which the image was rolled back: at least 1, and less than the window.
        shift: [usize; 2],
    },
}

/// What is added to a score of another end of the image, as in the authors' code.
pub const AWAY: f32 = -100.0;

impl MaskScores {
    /// What is added in windows of the last row or not, of the last column or not: `[tokens, tokens]`.
    pub(crate) fn table(window: [usize; 2], shift: [usize; 2], last: [bool; 2]) -> Vec<f32> {
        let beyond = |token: usize| {
            let place = [token / window[1], token % window[1]];
            [0, 1].map(|axis| last[axis] && place[axis] + shift[axis] >= window[axis])
        };
        let tokens = window[0] * window[1];
        let pairs = (0..tokens * tokens).map(|pair| (beyond(pair / tokens), beyond(pair % tokens)));
        pairs.map(|(query, key)| if query == key { 0.0 } else { AWAY }).collect()
    }
}

/// Ones behind zeros, `[zeros + ones]`.
pub(crate) fn ones_behind(builder: &mut Builder, zeros: usize, ones: usize) -> Value {
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

/// Which scores of a grid of windows are masked, as ones: `[rows * columns, tokens * tokens]`.
fn windows(
    builder: &mut Builder,
    [rows, columns]: [usize; 2],
    [height, width]: [usize; 2],
    shift: [usize; 2],
) -> Value {
    let ([down, across], tokens) = (shift, height * width);
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
    viewed(&either, &[rows * columns, tokens * tokens])
}

impl Operation for MaskScores {
    fn name(&self) -> &'static str {
        match self {
            Self::Diagonal => "mask_diagonal",
            Self::Windows { .. } => "mask_windows",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Diagonal => Vec::new(),
            Self::Windows { window, shift } => vec![("window", format!("{window:?}")), ("shift", format!("{shift:?}"))],
        }
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let Some((_, &[tokens, sources])) = inputs[0].split_last_chunk::<2>() else {
            panic!("{self:?}: {:?}", inputs[0])
        };
        assert_eq!(tokens, sources, "{self:?}");
        if let Self::Windows { window, shift } = self {
            assert!(inputs[0].len() == 6 && tokens == window[0] * window[1], "{self:?} of {:?}", inputs[0]);
            let within = |axis: usize| (1..window[axis]).contains(&shift[axis]);
            assert!(within(0) && within(1), "{self:?}");
        }
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(site.grads[0].clone())]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shape = &inputs[0].shape;
        let tokens = shape[shape.len() - 1];
        // Of masks so many, for so many scores each.
        let (mask, [outer, masks, inner]) = match *self {
            Self::Diagonal => {
                let mask = prim_identity(builder, tokens);
                let mask = builder.prim_affine(&mask, LEFT_OUT, 0.0);
                (viewed(&mask, &[1, tokens * tokens]), [inputs[0].len() / tokens / tokens, 1, 1])
            }
            Self::Windows { window, shift } => {
                let &[batch, rows, columns, heads, ..] = &shape[..] else { panic!("windows: {shape:?}") };
                let mask = windows(builder, [rows, columns], window, shift);
                (builder.prim_affine(&mask, AWAY, 0.0), [batch, rows * columns, heads])
            }
        };
        let x = viewed(&inputs[0], &[outer, masks, inner, tokens * tokens]);
        let y = builder.prim_add(&x, View::from(&mask).expand(1, inner).expand(0, outer));
        vec![viewed(&y, shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let tokens = shape.last()?.fixed()?;
        let mask = match *self {
            Self::Diagonal => writer.floats(&[tokens, tokens], left_out(tokens)),
            Self::Windows { window, shift } => {
                let (rows, columns) = (shape[1].fixed()?, shape[2].fixed()?);
                let windows =
                    (0..rows).flat_map(|row| (0..columns).map(move |column| [row + 1 == rows, column + 1 == columns]));
                let mask = windows.flat_map(|last| Self::table(window, shift, last)).collect();
                writer.floats(&[rows, columns, 1, tokens, tokens], mask)
            }
        };
        Some(writer.binary("Add", &inputs[0], &mask))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
