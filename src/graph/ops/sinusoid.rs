use std::any::Any;

use super::viewed;
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Dim, Tensor, Writer},
};

/// Plus sines and cosines of positions, `[batch, positions, dim]` to itself. Of entry `i` of a position, with the waves
/// `w(k, n) = 10000^(-k/n)`:
///
/// ```text
/// Line    sin(position w(i/2, dim/2)) of an even i, cos of the same for the odd one behind it
/// Grid    in four parts of dim/4: sin and cos of row w(i, dim/4), sin and cos of column w(i, dim/4)
/// ```
///
/// `Line` is Vaswani et al. 2017, section 3.5; `Grid` is Chen et al. 2021 (MoCo v3), whose positions are a grid, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddSinusoid {
    /// What positions are counted by.
    pub layout: Layout,
}

/// How positions lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One behind the other.
    Line,
    /// In rows and columns; `dim` is a multiple of 4.
    Grid {
        /// Positions of a row.
        columns: usize,
    },
}

/// The longest wavelength is this times 2 pi.
const LONGEST: f64 = 10_000.0;

impl Layout {
    /// What is added to positions of `dim` entries.
    pub(crate) fn table(self, positions: usize, dim: usize) -> Vec<f32> {
        let mut table = Vec::with_capacity(positions * dim);
        for position in 0..positions {
            table.extend((0..dim).map(|entry| {
                let (at, wave, cosine) = self.entry(position, entry, dim);
                let angle = at as f64 * LONGEST.powf(-wave);
                (if cosine { angle.cos() } else { angle.sin() }) as f32
            }));
        }
        table
    }

    /// The number that an entry is a wave of, the exponent of its length, and whether it is a cosine.
    fn entry(self, position: usize, entry: usize, dim: usize) -> (usize, f64, bool) {
        match self {
            Self::Line => (position, (2 * (entry / 2)) as f64 / dim as f64, entry % 2 == 1),
            Self::Grid { columns } => {
                let (part, quarter) = (entry * 4 / dim, dim / 4);
                let at = if part < 2 { position / columns } else { position % columns };
                (at, (entry % quarter) as f64 / quarter as f64, part % 2 == 1)
            }
        }
    }
}

impl Operation for AddSinusoid {
    fn name(&self) -> &'static str {
        "add_sinusoid"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        match self.layout {
            Layout::Line => Vec::new(),
            Layout::Grid { columns } => vec![("columns", columns.to_string())],
        }
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let &[_, positions, dim] = inputs[0] else { panic!("positions of {:?}", inputs[0]) };
        if let Layout::Grid { columns } = self.layout {
            assert!(dim % 4 == 0 && positions % columns == 0, "{self:?} of {:?}", inputs[0]);
        }
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(site.grads[0].clone())]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let &[batch, positions, dim] = &inputs[0].shape[..] else { panic!("positions of {:?}", inputs[0].shape) };
        let table = match self.layout {
            Layout::Line => {
                let numbers = counted(builder, positions);
                let waves = waves(builder, &numbers, dim.div_ceil(2), 2.0 / dim as f64);
                // The cosine behind each sine; of an odd number of entries the last has none.
                let waves = viewed(&waves, &[positions, 2, dim.div_ceil(2)]);
                let pairs = builder.prim_contiguous(View::from(&waves).permute(&[0, 2, 1]));
                let pairs = viewed(&pairs, &[positions, 2 * dim.div_ceil(2)]);
                builder.prim_contiguous(View::from(&pairs).slice(1, 0, dim))
            }
            Layout::Grid { columns } => {
                let rows = counted(builder, positions / columns);
                let rows = builder.prim_contiguous(View::from(&rows).expand(1, columns));
                let across = counted(builder, columns);
                let across = builder.prim_contiguous(View::from(&across).expand(0, positions / columns));
                let [rows, across] = [rows, across].map(|numbers| {
                    let numbers = viewed(&numbers, &[positions]);
                    waves(builder, &numbers, dim / 4, 4.0 / dim as f64)
                });
                let rows = builder.prim_contiguous(View::from(&rows).pad(1, 0, dim / 2));
                let across = builder.prim_contiguous(View::from(&across).pad(1, dim / 2, 0));
                builder.prim_add(&rows, &across)
            }
        };
        let table = viewed(&table, &[positions * dim]);
        let x = viewed(&inputs[0], &[batch, positions * dim]);
        let sum = builder.prim_add(&x, View::from(&table).expand(0, batch));
        vec![viewed(&sum, &inputs[0].shape)]
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let &[_, positions, dim] = shape else { return None };
        let (positions, dim) = (positions.fixed()?, dim.fixed()?);
        let table = writer.floats(&[positions, dim], self.layout.table(positions, dim));
        Some(writer.binary("Add", &inputs[0], &table))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The numbers from 0 on, `[count]`: those that there are, and behind them the same plus their count.
fn counted(builder: &mut Builder, count: usize) -> Value {
    let zero = builder.constant(0.0, &[1]);
    let mut numbers = builder.prim_contiguous(zero);
    while numbers.len() < count {
        let have = numbers.len();
        let more = builder.prim_affine(&numbers, 1.0, have as f32);
        let before = builder.prim_contiguous(View::from(&numbers).pad(0, 0, have));
        let behind = builder.prim_contiguous(View::from(&more).pad(0, have, 0));
        numbers = builder.prim_add(&before, &behind);
    }
    builder.prim_contiguous(View::from(&numbers).slice(0, 0, count))
}

/// Sines, then cosines, of numbers times `10000^(-i step)` for `i < count`: `[numbers, 2 count]`.
fn waves(builder: &mut Builder, numbers: &Value, count: usize, step: f64) -> Value {
    let exponents = counted(builder, count);
    let exponents = builder.prim_affine(&exponents, (-step * LONGEST.ln()) as f32, 0.0);
    let factors = builder.prim_exp(&exponents);
    let (positions, shape) = (numbers.len(), [numbers.len(), count]);
    let angles = builder.prim_mul(View::from(numbers).expand(1, count), View::from(&factors).expand(0, positions));
    let ahead = builder.prim_affine(&angles, 1.0, std::f32::consts::FRAC_PI_2);
    let [sines, cosines] = [angles, ahead].map(|angles| builder.prim_sin(&viewed(&angles, &shape)));
    let sines = builder.prim_contiguous(View::from(&sines).pad(1, 0, count));
    let cosines = builder.prim_contiguous(View::from(&cosines).pad(1, count, 0));
    builder.prim_add(&sines, &cosines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_of_the_papers() {
        // The first two positions of 6 entries.
        let line = Layout::Line.table(2, 6);
        let wave = |exponent: f64| LONGEST.powf(-exponent);
        let second = [0.0, 2.0 / 6.0, 4.0 / 6.0].map(|exponent| [wave(exponent).sin(), wave(exponent).cos()]);
        let expected = [[0.0, 1.0]; 3].into_iter().chain(second).flatten();
        assert!(line.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{line:?}");
        // Row 1, column 2 of a grid of three columns, 8 entries.
        let grid = &Layout::Grid { columns: 3 }.table(6, 8)[40..];
        let expected = [1.0_f64.sin(), 0.01_f64.sin(), 1.0_f64.cos(), 0.01_f64.cos()].into_iter().chain([
            2.0_f64.sin(),
            0.02_f64.sin(),
            2.0_f64.cos(),
            0.02_f64.cos(),
        ]);
        assert!(grid.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{grid:?}");
    }
}
