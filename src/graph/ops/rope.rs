use std::any::Any;

use super::{lookup::prim_positions, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Rotary position embedding on a grid (Su et al. 2021, in two dimensions as Heo et al. 2024): pairs of channels are
/// turned, so that a product of a query and a key depends on how far apart their tokens are.
///
/// `[.., tokens, heads * dim]` to itself, where `dim` is a multiple of 4 and the tokens behind the first `skipped` are those
/// of the grid, row by row. Of the channels of a head the first half is turned by the row `y`, the second by the column: pair
/// `i` of a half, channels `2 i` and `2 i + 1` of it, by the angle `y base^(-4 i / dim)`. Tokens that are skipped stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Heads, side by side.
    pub heads: usize,
    /// Rows and columns of tokens.
    pub grid: [usize; 2],
    /// Tokens in front of the grid, which stay.
    pub skipped: usize,
    /// Of the angles: those of a pair are powers of it.
    pub base: f32,
    /// Turns back: the gradient.
    pub inverse: bool,
}

impl Rope {
    /// Channels of a head, by the shape of the tensor.
    ///
    /// # Panics
    /// When the shape does not fit.
    pub(crate) fn dim(&self, shape: &[usize]) -> usize {
        let [.., tokens, width] = *shape else { panic!("rope: {shape:?}") };
        let fits = tokens == self.skipped + self.grid[0] * self.grid[1] && width.is_multiple_of(4 * self.heads);
        assert!(fits, "{self:?} of {shape:?}");
        width / self.heads
    }

    /// Cosine and sine of each token of the grid and each pair of channels of a head of `dim`.
    pub(crate) fn turns(&self, dim: usize) -> Vec<[f32; 2]> {
        let ([rows, columns], quarter) = (self.grid, dim / 4);
        let mut turns = Vec::with_capacity(rows * columns * dim / 2);
        for token in 0..rows * columns {
            for pair in 0..dim / 2 {
                let position = if pair < quarter { token / columns } else { token % columns };
                let frequency = f64::from(self.base).powf(-4.0 * (pair % quarter) as f64 / dim as f64);
                let angle = position as f64 * if self.inverse { -frequency } else { frequency };
                turns.push([angle.cos() as f32, angle.sin() as f32]);
            }
        }
        turns
    }

    /// Cosines and sines of `[tokens, dim / 2]`.
    fn angles(&self, builder: &mut Builder, dim: usize) -> [Value; 2] {
        let ([rows, columns], quarter) = (self.grid, dim / 4);
        let pairs = prim_positions(builder, quarter);
        let exponents = builder.prim_affine(&pairs, -4.0 / dim as f32 * self.base.ln(), 0.0);
        let frequencies = builder.prim_exp(&exponents);
        let halves = [(rows, 1, [0, quarter]), (columns, 0, [quarter, 0])].map(|(length, other, [before, after])| {
            let positions = prim_positions(builder, length);
            let positions = View::from(&positions).expand(1, quarter);
            let angles = builder.prim_mul(positions, View::from(&frequencies).expand(0, length));
            let everywhere = View::from(&angles).expand(other, self.grid[other]);
            let everywhere = builder.prim_contiguous(everywhere);
            let half = viewed(&everywhere, &[rows * columns, quarter]);
            let half = builder.prim_contiguous(View::from(&half).pad(1, before, after));
            builder.prim_contiguous(View::from(&half).pad(0, self.skipped, 0))
        });
        let [by_row, by_column] = halves;
        let angles = builder.prim_add(&by_column, &by_row);
        let sines = builder.prim_sin(&angles);
        let later = builder.prim_affine(&angles, 1.0, std::f32::consts::FRAC_PI_2);
        [builder.prim_sin(&later), sines]
    }
}

impl Operation for Rope {
    fn name(&self) -> &'static str {
        if self.inverse { "rope_gradient" } else { "rope" }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let [rows, columns] = self.grid;
        let mut attributes = vec![
            ("heads", self.heads.to_string()),
            ("grid", format!("{rows}x{columns}")),
            ("base", self.base.to_string()),
        ];
        attributes.extend((self.skipped > 0).then(|| ("skipped", self.skipped.to_string())));
        attributes
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        self.dim(inputs[0]);
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.apply_one(Self { inverse: !self.inverse, ..*self }, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shape = &inputs[0].shape;
        let (dim, heads) = (self.dim(shape), self.heads);
        let tokens = self.skipped + self.grid[0] * self.grid[1];
        let groups = inputs[0].len() / (tokens * heads * dim);
        let [cosines, sines] = self.angles(builder, dim);
        let sines = builder.prim_affine(&sines, if self.inverse { -1.0 } else { 1.0 }, 0.0);
        let wide = [groups, tokens, heads, dim / 2];
        let everywhere = |angle: &Value| View::from(angle).expand(1, heads).expand(0, groups);
        let pairs = viewed(&inputs[0], &[groups, tokens, heads, dim / 2, 2]);
        let [even, odd] = [0, 1].map(|channel| {
            let channel = builder.prim_contiguous(View::from(&pairs).slice(4, channel, 1));
            viewed(&channel, &wide)
        });
        let mut times = |x: &Value, angle: &Value| builder.prim_mul(x, everywhere(angle));
        let products = [times(&even, &cosines), times(&odd, &sines), times(&odd, &cosines), times(&even, &sines)];
        let new_even = builder.prim_sub(&products[0], &products[1]);
        let new_odd = builder.prim_add(&products[2], &products[3]);
        let mut beside = |x: &Value, before: usize| {
            let x = viewed(x, &[groups, tokens, heads, dim / 2, 1]);
            builder.prim_contiguous(View::from(&x).pad(4, before, 1 - before))
        };
        let [even, odd] = [beside(&new_even, 0), beside(&new_odd, 1)];
        let y = builder.prim_add(&even, &odd);
        vec![viewed(&y, shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let x = &inputs[0];
        let [leading @ .., tokens, width] = &x.shape[..] else { return None };
        let (tokens, width) = (tokens.fixed()?, width.fixed()?);
        let turns = self.turns(width / self.heads);
        let angles = |part: fn(&[f32; 2]) -> f32| -> Vec<f32> {
            let stays = part(&[1.0, 0.0]);
            let rows = turns.chunks(width / self.heads / 2);
            let grid = rows.flat_map(|row| (0..self.heads).flat_map(move |_| row.iter().map(part)));
            std::iter::repeat_n(stays, self.skipped * width / 2).chain(grid).collect()
        };
        let [cosines, sines] =
            [angles(|turn| turn[0]), angles(|turn| turn[1])].map(|all| writer.floats(&[tokens, width / 2, 1], all));
        let pairs = [leading, &[tokens.into(), (width / 2).into(), 2.into()]].concat();
        let pairs = writer.reshape(x, &pairs);
        let last = pairs.rank() - 1;
        let [even, odd] = [0, 1].map(|channel| writer.slice(&pairs, last, channel, 1));
        let [even_cos, odd_sin] = [(&even, &cosines), (&odd, &sines)].map(|(x, by)| writer.binary("Mul", x, by));
        let [odd_cos, even_sin] = [(&odd, &cosines), (&even, &sines)].map(|(x, by)| writer.binary("Mul", x, by));
        let new_even = writer.binary("Sub", &even_cos, &odd_sin);
        let new_odd = writer.binary("Add", &odd_cos, &even_sin);
        let turned = writer.concat(&[new_even, new_odd], last);
        Some(writer.reshape(&turned, shape))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
