use std::any::Any;

use super::{attention::LEFT_OUT, mask_scores::ones_behind, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Attribute, Dim, Tensor, Writer},
};

/// Makes a tensor of the elements of a table, a parameter: which element of it each one is, is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Each element so many times in a row: `[n]` to `[n * times]`.
    RepeatEach {
        /// Copies of an element.
        times: usize,
    },
    /// What is added to the scores of an attention over the tokens of a grid of `h` rows and `w` columns (Liu et al. 2021,
    /// Swin): `[(2 h - 1) (2 w - 1), heads]` to `[heads, h w, h w]`, where that of query `i` and key `j` is of the table's
    /// row `(y_i - y_j + h - 1) (2 w - 1) + x_i - x_j + w - 1`. Tokens in front of the grid, as a class token is, add three
    /// rows to the table: of those queries and keys of the grid, of queries of the grid and those keys, and of both (Bao et
    /// al. 2021, BEiT). Without the diagonal, scores of a token and itself receive so little that a softmax leaves them out.
    RelativePositions {
        /// Rows and columns of tokens.
        grid: [usize; 2],
        /// Tokens in front of these.
        skipped: usize,
        /// Whether a token has a score of itself.
        diagonal: bool,
    },
}

impl Lookup {
    /// What is added to a score that is left out.
    pub const LEFT_OUT: f32 = LEFT_OUT;

    /// Rows of the table of relative positions.
    pub(crate) fn offsets([rows, columns]: [usize; 2], skipped: usize) -> usize {
        let of = |length: usize| length.saturating_mul(2).saturating_sub(1);
        of(rows).saturating_mul(of(columns)).saturating_add(if skipped > 0 { IN_FRONT } else { 0 })
    }

    /// The element of the table of `len` that an element of the result is; `None` for what is left out.
    pub(crate) fn index(self, len: usize, element: usize) -> Option<usize> {
        match self {
            Self::RepeatEach { times } => Some(element / times),
            Self::RelativePositions { grid, skipped, diagonal } => {
                let [rows, columns] = grid;
                let (tokens, width) = (skipped + rows * columns, 2 * columns - 1);
                let heads = len / Self::offsets(grid, skipped);
                let [head, i, j] = [element / tokens / tokens, element / tokens % tokens, element % tokens];
                let row = match (i.checked_sub(skipped), j.checked_sub(skipped)) {
                    (Some(i), Some(j)) => {
                        let down = i / columns + rows - 1 - j / columns;
                        let across = i % columns + columns - 1 - j % columns;
                        down * width + across
                    }
                    (None, Some(_)) => (2 * rows - 1) * width,
                    (Some(_), None) => (2 * rows - 1) * width + 1,
                    (None, None) => (2 * rows - 1) * width + 2,
                };
                (diagonal || i != j).then_some(row * heads + head)
            }
        }
    }

    fn attributes(self) -> Vec<(&'static str, String)> {
        match self {
            Self::RepeatEach { times } => vec![("times", times.to_string())],
            Self::RelativePositions { grid: [rows, columns], skipped, diagonal } => {
                let mut attributes = vec![("grid", format!("{rows}x{columns}"))];
                attributes.extend((skipped > 0).then(|| ("skipped", skipped.to_string())));
                attributes.extend((!diagonal).then(|| ("mask", "diagonal".to_owned())));
                attributes
            }
        }
    }
}

impl Operation for Lookup {
    fn name(&self) -> &'static str {
        match self {
            Self::RepeatEach { .. } => "repeat_each",
            Self::RelativePositions { .. } => "relative_positions",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        (*self).attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        match (*self, inputs[0]) {
            (Self::RepeatEach { times }, &[len]) => vec![vec![len * times]],
            (Self::RelativePositions { grid, skipped, .. }, &[offsets, heads]) => {
                assert_eq!(offsets, Self::offsets(grid, skipped), "relative_positions of {grid:?}");
                let tokens = skipped + grid[0] * grid[1];
                vec![vec![heads, tokens, tokens]]
            }
            (_, shape) => panic!("{self:?} of {shape:?}"),
        }
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let gradient = LookupGradient { lookup: *self, shape: site.inputs[0].shape.clone() };
        vec![Some(builder.apply_one(gradient, &[&site.grads[0]]))]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let table = &inputs[0];
        match *self {
            Self::RepeatEach { times } => {
                let repeated = builder.prim_contiguous(View::from(table).expand(1, times));
                vec![viewed(&repeated, &[table.len() * times])]
            }
            Self::RelativePositions { grid: [rows, columns], skipped, diagonal } => {
                let heads = table.shape[1];
                let (down, across) = (2 * rows - 1, 2 * columns - 1);
                let offsets = down * across;
                let of_grid = builder.prim_contiguous(View::from(table).slice(0, 0, offsets));
                let by_head = View::from(&viewed(&of_grid, &[down, across, heads])).permute(&[2, 0, 1]);
                let by_head = builder.prim_contiguous(by_head);
                let down = toeplitz(builder, &viewed(&by_head, &[heads, down, across]), rows);
                let both = toeplitz(builder, &viewed(&down, &[heads * rows * rows, across, 1]), columns);
                // Of the key's row, the query's row, the key's column, the query's column.
                let both = View::from(&viewed(&both, &[heads, rows, rows, columns, columns]));
                let bias = builder.prim_contiguous(both.permute(&[0, 2, 4, 1, 3]));
                let (of_grid, tokens) = (rows * columns, skipped + rows * columns);
                let mut bias = viewed(&bias, &[heads, of_grid, of_grid]);
                if skipped > 0 {
                    for axis in [1, 2] {
                        bias = builder.prim_contiguous(View::from(&bias).pad(axis, skipped, 0));
                    }
                    for (index, region) in in_front(builder, skipped, of_grid).into_iter().enumerate() {
                        let row = builder.prim_contiguous(View::from(table).slice(0, offsets + index, 1));
                        let row = View::from(&viewed(&row, &[heads])).expand(1, tokens).expand(2, tokens);
                        let added = builder.prim_mul(View::from(&region).expand(0, heads), row);
                        bias = builder.prim_add(&bias, &added);
                    }
                }
                if diagonal {
                    return vec![bias];
                }
                let left_out = prim_identity(builder, tokens);
                let left_out = builder.prim_affine(&left_out, LEFT_OUT, 0.0);
                vec![builder.prim_add(&bias, View::from(&left_out).expand(0, heads))]
            }
        }
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let table = &inputs[0];
        match *self {
            Self::RepeatEach { times } => {
                let rows = writer.unsqueeze(table, 1);
                let repeated = writer.expand(&rows, &[table.shape[0], times.into()]);
                Some(writer.reshape(&repeated, shape))
            }
            Self::RelativePositions { grid: [rows, columns], skipped, diagonal } => {
                let (heads, tokens) = (table.last()?, skipped + rows * columns);
                let len = heads * table.shape[0].fixed()?;
                // Of the first head: rows of the table.
                let all = Self::RelativePositions { grid: [rows, columns], skipped, diagonal: true };
                let rows = (0..tokens * tokens).map(|element| all.index(len, element).map_or(0, |index| index / heads));
                let rows = writer.integers(rows.map(|row| row as i64));
                let axis = vec![Attribute::int("axis", 0)];
                let offsets = writer.node("Gather", &[table, &rows], axis, &[(tokens * tokens).into(), heads.into()]);
                let by_head = writer.transpose(&offsets, &[1, 0]);
                let offsets = writer.reshape(&by_head, shape);
                if diagonal {
                    return Some(offsets);
                }
                let left_out = writer.floats(&[tokens, tokens], left_out(tokens));
                Some(writer.binary("Add", &offsets, &left_out))
            }
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Rows of a table for tokens in front of a grid.
const IN_FRONT: usize = 3;

/// Ones where tokens in front of others are the queries, the keys, and both: `[tokens, tokens]` each.
fn in_front(builder: &mut Builder, front: usize, others: usize) -> [Value; IN_FRONT] {
    let tokens = front + others;
    let behind = ones_behind(builder, front, others);
    let before = builder.prim_affine(&behind, -1.0, 1.0);
    [(&before, &behind), (&behind, &before), (&before, &before)].map(|(queries, keys)| {
        builder.prim_mul(View::from(queries).expand(1, tokens), View::from(keys).expand(0, tokens))
    })
}

/// What is added to scores of `[tokens, tokens]` to leave the diagonal out.
pub(crate) fn left_out(tokens: usize) -> Vec<f32> {
    (0..tokens * tokens).map(|element| if element % (tokens + 1) == 0 { LEFT_OUT } else { 0.0 }).collect()
}

/// Gradient of a [`Lookup`]: of each element of the table the sum over those that are it. Input dy, output the gradient of
/// the table, of this shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupGradient {
    /// Whose gradient it is.
    pub lookup: Lookup,
    /// Of the table.
    pub shape: Vec<usize>,
}

impl Operation for LookupGradient {
    fn name(&self) -> &'static str {
        match self.lookup {
            Lookup::RepeatEach { .. } => "repeat_each_gradient",
            Lookup::RelativePositions { .. } => "relative_positions_gradient",
        }
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.lookup.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        assert_eq!(self.lookup.output_shapes(&[&self.shape])[0], inputs[0], "{self:?}");
        vec![self.shape.clone()]
    }

    fn gradient(&self, _: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![None; site.inputs.len()]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let dy = &inputs[0];
        match self.lookup {
            Lookup::RepeatEach { times } => {
                vec![builder.prim_sum(&viewed(dy, &[self.shape[0], times]), 1)]
            }
            Lookup::RelativePositions { grid: [rows, columns], skipped, diagonal } => {
                let heads = self.shape[1];
                let (down, across, of_grid) = (2 * rows - 1, 2 * columns - 1, rows * columns);
                let mut dy = dy.clone();
                if !diagonal {
                    let left_out = prim_identity(builder, skipped + of_grid);
                    let stays = builder.prim_affine(&left_out, -1.0, 1.0);
                    dy = builder.prim_mul(&dy, View::from(&stays).expand(0, heads));
                }
                let mut of_front = Vec::new();
                if skipped > 0 {
                    for region in in_front(builder, skipped, of_grid) {
                        let stays = builder.prim_mul(&dy, View::from(&region).expand(0, heads));
                        let sum = builder.prim_sum(&stays, 2);
                        let sum = builder.prim_sum(&sum, 1);
                        of_front.push(viewed(&sum, &[1, heads]));
                    }
                    for axis in [1, 2] {
                        dy = builder.prim_contiguous(View::from(&dy).slice(axis, skipped, of_grid));
                    }
                }
                let by_axis = View::from(&viewed(&dy, &[heads, rows, columns, rows, columns]));
                let by_axis = builder.prim_contiguous(by_axis.permute(&[0, 3, 1, 4, 2]));
                let sums =
                    toeplitz_gradient(builder, &viewed(&by_axis, &[heads * rows * rows, columns, columns, 1]), columns);
                let sums = toeplitz_gradient(builder, &viewed(&sums, &[heads, rows, rows, across]), rows);
                let table = View::from(&viewed(&sums, &[heads, down, across])).permute(&[1, 2, 0]);
                let table = builder.prim_contiguous(table);
                let mut table = viewed(&table, &[down * across, heads]);
                if skipped > 0 {
                    table = builder.prim_contiguous(View::from(&table).pad(0, 0, IN_FRONT));
                }
                for (index, row) in of_front.iter().enumerate() {
                    let row = View::from(row).pad(0, down * across + index, IN_FRONT - 1 - index);
                    let row = builder.prim_contiguous(row);
                    table = builder.prim_add(&table, &row);
                }
                vec![table]
            }
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `y[o, j, i, c] = x[o, n - 1 + i - j, c]` of `[outer, 2 n - 1, inner]`: the rows, one after the other as often as they
/// are, are read again in rows that are one shorter.
fn toeplitz(builder: &mut Builder, x: &Value, n: usize) -> Value {
    let &[outer, length, inner] = x.shape.as_slice() else { panic!("toeplitz: {:?}", x.shape) };
    if n == 1 {
        return viewed(x, &[outer, 1, 1, inner]);
    }
    let repeated = builder.prim_contiguous(View::from(x).expand(1, n));
    let from = View::from(&viewed(&repeated, &[outer, n * length, inner])).slice(1, n - 1, n * (length - 1));
    let from = builder.prim_contiguous(from);
    let rows = View::from(&viewed(&from, &[outer, n, length - 1, inner])).slice(2, 0, n);
    builder.prim_contiguous(rows)
}

/// The gradient of [`toeplitz`]: `[outer, n, n, inner]` to `[outer, 2 n - 1, inner]`.
fn toeplitz_gradient(builder: &mut Builder, dy: &Value, n: usize) -> Value {
    let &[outer, _, _, inner] = dy.shape.as_slice() else { panic!("toeplitz_gradient: {:?}", dy.shape) };
    let length = 2 * n - 1;
    if n == 1 {
        return viewed(dy, &[outer, 1, inner]);
    }
    let rows = builder.prim_contiguous(View::from(dy).pad(2, 0, length - 1 - n));
    let all = View::from(&viewed(&rows, &[outer, n * (length - 1), inner])).pad(1, n - 1, 1);
    let all = builder.prim_contiguous(all);
    builder.prim_sum(&viewed(&all, &[outer, n, length, inner]), 1)
}

/// Ones on the diagonal of `[n, n]`: a one and `n` zeros, over and over, in rows that are one shorter.
pub(crate) fn prim_identity(builder: &mut Builder, n: usize) -> Value {
    let one = builder.constant(1.0, &[1]);
    let one = builder.prim_contiguous(one);
    let period = builder.prim_contiguous(View::from(&one).pad(0, 0, n));
    let repeated = builder.prim_contiguous(View::from(&period).expand(0, n));
    let whole = View::from(&viewed(&repeated, &[n * (n + 1)])).slice(0, 0, n * n);
    let whole = builder.prim_contiguous(whole);
    viewed(&whole, &[n, n])
}

/// `0, 1, .., n - 1`: how many ones a row of a triangle has, less one.
pub(crate) fn prim_positions(builder: &mut Builder, n: usize) -> Value {
    let ones = builder.constant(1.0, &[1, n, 1]);
    let ones = builder.prim_contiguous(ones);
    let step = builder.prim_contiguous(View::from(&ones).pad(1, 0, n - 1));
    let triangle = toeplitz(builder, &step, n);
    let counts = builder.prim_sum(&viewed(&triangle, &[n, n]), 1);
    builder.prim_affine(&counts, 1.0, -1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the formula of Swin: the offset of the query from the key, row first.
    #[test]
    fn relative_positions_are_offsets() {
        let grid = [2, 3];
        let lookup = Lookup::RelativePositions { grid, skipped: 0, diagonal: true };
        let index = |head: usize, i: usize, j: usize| lookup.index(3 * 5 * 2, (head * 6 + i) * 6 + j);
        // A token and itself: no offset, in the middle of the table.
        assert_eq!(index(0, 4, 4), Some((5 + 2) * 2));
        assert_eq!(index(1, 0, 0), Some((5 + 2) * 2 + 1));
        // From the last token to the first: one row and two columns down and across.
        assert_eq!(index(0, 5, 0), Some(14 * 2));
        assert_eq!(index(1, 0, 5), Some(1));
        // Behind a class token, as BEiT's `gen_relative_position_index` has it.
        let behind = Lookup::RelativePositions { grid, skipped: 1, diagonal: true };
        let of = |i: usize, j: usize| behind.index(18 * 2, (7 + i) * 7 + j);
        assert_eq!([of(0, 3), of(3, 0), of(0, 0)], [15, 16, 17].map(|row| Some(row * 2 + 1)));
        assert_eq!(of(6, 1), Some(14 * 2 + 1));
        let without = Lookup::RelativePositions { grid, skipped: 0, diagonal: false };
        assert_eq!(without.index(30, 4 * 6 + 4), None);
        assert_eq!(without.index(30, 4 * 6 + 5), index(0, 4, 5));
    }
}
