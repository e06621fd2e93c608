//! The update of a dense kernel of one row per image, whose gradient is a product of few terms: a
//! piece of the gradient is made, used while it is in the cache, and forgotten. In memory it would be
//! written and read once more than the update itself needs.

use super::{Rule, States};
use crate::backend::cpu::kernels::gemm::{self, Epilogue, MR, Mat};

/// Elements of the packed part of `dy` and of a piece of the gradient: together three eighths of a core's
/// second-level cache, for the rows of `x` and for what streams through.
const PACKED: usize = 128 * 1024;
const PIECE: usize = 64 * 1024;

/// Columns that are packed together, and rows of a piece.
fn piece(batch: usize, rows: usize, columns: usize) -> (usize, usize) {
    let width =
        (PACKED / batch / gemm::NR * gemm::NR).clamp(16 * gemm::NR, PIECE / MR / gemm::NR * gemm::NR).min(columns);
    let height = (PIECE / width / MR * MR).max(MR);
    (width, height.min(rows))
}

/// Length of [`update`]'s scratch.
#[must_use]
pub fn scratch_len(batch: usize, rows: usize, columns: usize) -> usize {
    let (width, height) = piece(batch, rows, columns);
    gemm::packed_len(batch, width) + height * width + gemm::ALIGNMENT
}

/// [`Rule::step`] on rows of a kernel `[.., columns]` and its slots by the gradient `xᵀ·dy`, where `x`,
/// `[batch, rows]`, is already transposed and `dy` is `[batch, columns]`. `scratch` holds [`scratch_len`] elements.
///
/// # Panics
/// When a slice does not have its length.
pub fn update(
    rule: &Rule,
    x: Mat,
    dy: &[f32],
    columns: usize,
    scalars: &[f32],
    states: &mut [&mut [f32]],
    scratch: &mut [f32],
) {
    let (batch, rows) = (dy.len() / columns, states[0].len() / columns);
    assert!(dy.len() == batch * columns && states[0].len() == rows * columns, "whole rows");
    let (width, height) = piece(batch, rows, columns);
    let (packed, gradient) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(batch, width));
    for left in (0..columns).step_by(width) {
        let width = width.min(columns - left);
        gemm::pack_b(batch, width, Mat::rows(&dy[left..], columns), packed);
        for top in (0..rows).step_by(height) {
            let height = height.min(rows - top);
            let x = Mat { data: &x.data[top * x.row_stride..], ..x };
            let gradient = &mut gradient[..height * width];
            gemm::gemm_packed(height, width, batch, x, packed, gradient, width, &Epilogue::default());
            for (row, gradient) in gradient.chunks_exact(width).enumerate() {
                let part = (top + row) * columns + left..(top + row) * columns + left + width;
                let mut states: States = states.iter_mut().map(|state| &mut state[part.clone()]).collect();
                rule.step(scalars, gradient, &mut states);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{rules, states, views},
        *,
    };
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    #[test]
    fn as_a_gradient_in_memory() {
        on_each_isa(|isa| {
            for (batch, rows, columns) in [(1, 1, 1), (3, 50, 70), (300, 40, 600), (2, 30, 6000)] {
                let (x, dy) = (noise(1, batch * rows), noise(2, batch * columns));
                let mut gradient = vec![0.0; rows * columns];
                let mut scratch = vec![f32::NAN; gemm::scratch_len(rows, columns, batch)];
                let (xt, b) = (Mat::transposed(&x, rows), Mat::rows(&dy, columns));
                gemm::gemm(rows, columns, batch, xt, b, &mut gradient, columns, false, &mut scratch);
                for (name, rule, count, scalars) in rules() {
                    let mut expected = states(count, rows * columns);
                    let mut actual = expected.clone();
                    rule.step(&scalars, &gradient, &mut views(&mut expected));
                    let mut scratch = vec![f32::NAN; scratch_len(batch, rows, columns)];
                    update(&rule, xt, &dy, columns, &scalars, &mut views(&mut actual), &mut scratch);
                    assert_eq!(actual, expected, "{isa:?} {name} {batch} {rows}x{columns}");
                }
            }
        });
    }
}
