//! The nearest orthogonal matrix, nearly: Newton-Schulz by products of matrices, as [`Direction`] says.

use super::{
    elementwise,
    gemm::{self, Mat},
    isa::multiversion,
    squares::sum_of_squares,
};
use crate::graph::ops::Direction;

/// Length of [`orthogonalize`]'s scratch.
#[must_use]
pub fn scratch_len(rows: usize, columns: usize) -> usize {
    let small = rows.min(columns);
    let packing = [[small, small, rows.max(columns)], [small, small, small], [rows, columns, small]];
    let packing = packing.into_iter().map(|[m, n, k]| gemm::scratch_len(m, n, k)).max().unwrap_or(0);
    rows * columns + 2 * small * small + packing
}

/// `factor = b square + c factor` and then `a` more on the diagonal, all times `scale`: both `[size, size]`.
#[inline(always)]
fn polynomial_generic<const FMA: bool>(size: usize, square: &[f32], factor: &mut [f32], scale: f32) {
    assert!(square.len() == size * size && factor.len() == size * size);
    let [a, b, c] = Direction::COEFFICIENTS.map(|coefficient| coefficient * scale);
    for (factor, square) in factor.iter_mut().zip(square) {
        *factor = b * square + c * *factor;
    }
    factor.iter_mut().step_by(size + 1).for_each(|diagonal| *diagonal += a);
}

multiversion! {
    fn polynomial(size: usize, square: &[f32], factor: &mut [f32], scale: f32) = polynomial_generic;
}

/// Makes of x, `[rows, columns]`, what [`Direction`] makes of it in so many steps, in `out`; x is used up. `scratch` holds
/// [`scratch_len`] elements.
///
/// # Panics
/// When a slice does not have its length.
pub fn orthogonalize([rows, columns]: [usize; 2], steps: usize, x: &mut [f32], out: &mut [f32], scratch: &mut [f32]) {
    assert!(x.len() == rows * columns && out.len() == x.len(), "lengths of the matrices");
    let (small, large) = (rows.min(columns), rows.max(columns));
    let norm = sum_of_squares(x).sqrt() as f32 + Direction::EPSILON;
    elementwise::scale_in_place(1.0 / norm, x);
    let (next, scratch) = scratch.split_at_mut(rows * columns);
    let (square, scratch) = scratch.split_at_mut(small * small);
    let (factor, scratch) = scratch.split_at_mut(small * small);
    let (mut from, mut to) = (x, next);
    for step in 1..=steps {
        let (by_rows, across) = (Mat::rows(from, columns), Mat::transposed(from, columns));
        let (left, right) = if rows <= columns { (by_rows, across) } else { (across, by_rows) };
        gemm::gemm(small, small, large, left, right, square, small, false, scratch);
        gemm::gemm(
            small,
            small,
            small,
            Mat::rows(square, small),
            Mat::rows(square, small),
            factor,
            small,
            false,
            scratch,
        );
        let scale = if step == steps { Direction::scale([rows, columns]) } else { 1.0 };
        polynomial(small, square, factor, scale);
        let factor = Mat::rows(factor, small);
        let (left, right) = if rows <= columns { (factor, by_rows) } else { (by_rows, factor) };
        let result = if step == steps { &mut *out } else { &mut *to };
        gemm::gemm(rows, columns, small, left, right, result, columns, false, scratch);
        std::mem::swap(&mut from, &mut to);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{assert_close, noise, on_each_isa};

    fn product(
        m: usize,
        n: usize,
        k: usize,
        a: impl Fn(usize, usize) -> f64,
        b: impl Fn(usize, usize) -> f64,
    ) -> Vec<f64> {
        let element = |i: usize, j: usize| (0..k).map(|l| a(i, l) * b(l, j)).sum();
        (0..m * n).map(|at| element(at / n, at % n)).collect()
    }

    /// As the definition has it, in double precision.
    pub fn exact([rows, columns]: [usize; 2], steps: usize, x: &[f32]) -> Vec<f64> {
        let norm = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() + 1e-7;
        // Of the transpose, where that is wide.
        let wide = rows <= columns;
        let (m, n) = if wide { (rows, columns) } else { (columns, rows) };
        let at = |i: usize, j: usize| if wide { i * columns + j } else { j * columns + i };
        let mut matrix: Vec<f64> = (0..m * n).map(|index| f64::from(x[at(index / n, index % n)]) / norm).collect();
        for _ in 0..steps {
            let a = product(m, m, n, |i, l| matrix[i * n + l], |l, j| matrix[j * n + l]);
            let aa = product(m, m, m, |i, l| a[i * m + l], |l, j| a[l * m + j]);
            let b: Vec<f64> = a.iter().zip(&aa).map(|(a, aa)| -4.775 * a + 2.0315 * aa).collect();
            let change = product(m, n, m, |i, l| b[i * m + l], |l, j| matrix[l * n + j]);
            matrix.iter_mut().zip(change).for_each(|(x, change)| *x = 3.4445 * *x + change);
        }
        let scale = (columns as f64 / rows as f64).max(1.0).sqrt();
        let mut result = vec![0.0; rows * columns];
        (0..m * n).for_each(|index| result[at(index / n, index % n)] = matrix[index] * scale);
        result
    }

    const SHAPES: [[usize; 2]; 7] = [[1, 1], [1, 9], [7, 1], [5, 12], [33, 20], [64, 64], [48, 130]];

    #[test]
    fn as_the_definition_in_f64() {
        on_each_isa(|isa| {
            for shape @ [rows, columns] in SHAPES {
                for steps in [1, 3, 5] {
                    let mut x = noise(3, rows * columns);
                    let expected = exact(shape, steps, &x);
                    let mut out = vec![f32::NAN; x.len()];
                    orthogonalize(shape, steps, &mut x, &mut out, &mut vec![f32::NAN; scratch_len(rows, columns)]);
                    assert_close(&out, &expected, 2e-4, &format!("{isa:?} {shape:?} {steps}"));
                }
            }
        });
    }

    /// The lengths of the images of vectors lie between the smallest and the largest singular value.
    #[test]
    fn singular_values_are_near_one() {
        for shape @ [rows, columns] in [[5, 12], [33, 20], [48, 130]] {
            let mut x = noise(5, rows * columns);
            let mut out = vec![0.0; x.len()];
            orthogonalize(shape, 5, &mut x, &mut out, &mut vec![0.0; scratch_len(rows, columns)]);
            let (small, large, scale) = (rows.min(columns), rows.max(columns), Direction::scale(shape));
            for seed in 0..20 {
                let vector = noise(seed, small);
                let image = |j: usize| -> f32 {
                    (0..small)
                        .map(|i| vector[i] * if rows <= columns { out[i * columns + j] } else { out[j * columns + i] })
                        .sum()
                };
                let length = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
                let ratio = length(&mut (0..large).map(image)) / length(&mut vector.iter().copied()) / scale;
                assert!((0.65..1.25).contains(&ratio), "{shape:?}: {ratio}");
            }
        }
    }

    #[test]
    fn no_gradient_is_no_step() {
        let mut out = vec![f32::NAN; 12];
        orthogonalize([3, 4], 5, &mut [0.0; 12], &mut out, &mut vec![0.0; scratch_len(3, 4)]);
        assert_eq!(out, [0.0; 12]);
    }
}
