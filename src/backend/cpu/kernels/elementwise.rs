//! Sums, products and reductions of whole slices.

use super::isa::{madd, multiversion};

#[inline(always)]
fn add_generic<const FMA: bool>(a: &[f32], b: &[f32], out: &mut [f32]) {
    assert!(a.len() == b.len() && a.len() == out.len());
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a + b;
    }
}

#[inline(always)]
fn multiply_generic<const FMA: bool>(a: &[f32], b: &[f32], out: &mut [f32]) {
    assert!(a.len() == b.len() && a.len() == out.len());
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a * b;
    }
}

#[inline(always)]
fn add_rows_generic<const FMA: bool>(a: &[f32], suffix: &[f32], out: &mut [f32]) {
    assert_eq!(a.len(), out.len());
    if a.is_empty() {
        return;
    }
    assert!(a.len().is_multiple_of(suffix.len()), "the broadcast operand does not divide the other");
    for (a, out) in a.chunks_exact(suffix.len()).zip(out.chunks_exact_mut(suffix.len())) {
        for ((out, a), b) in out.iter_mut().zip(a).zip(suffix) {
            *out = a + b;
        }
    }
}

#[inline(always)]
fn add_rows_in_place_generic<const FMA: bool>(out: &mut [f32], suffix: &[f32]) {
    if out.is_empty() {
        return;
    }
    assert!(out.len().is_multiple_of(suffix.len()), "the broadcast operand does not divide the other");
    for out in out.chunks_exact_mut(suffix.len()) {
        for (out, b) in out.iter_mut().zip(suffix) {
            *out += b;
        }
    }
}

#[inline(always)]
fn scale_generic<const FMA: bool>(factor: f32, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    for (out, x) in out.iter_mut().zip(x) {
        *out = x * factor;
    }
}

#[inline(always)]
fn scale_in_place_generic<const FMA: bool>(factor: f32, x: &mut [f32]) {
    for x in x {
        *x *= factor;
    }
}

#[inline(always)]
fn accumulate_generic<const FMA: bool>(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

#[inline(always)]
fn accumulate_scaled_generic<const FMA: bool>(factor: f32, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    for (out, &x) in out.iter_mut().zip(x) {
        *out = madd::<FMA>(x, factor, *out);
    }
}

#[inline(always)]
fn sum_rows_generic<const FMA: bool>(rows: usize, cols: usize, x: &[f32], out: &mut [f32]) {
    /// Columns summed in registers over all rows.
    const BLOCK: usize = 64;
    assert!(x.len() == rows * cols && out.len() == cols);
    let full = cols / BLOCK * BLOCK;
    for j in (0..full).step_by(BLOCK) {
        let out: &mut [f32; BLOCK] = (&mut out[j..j + BLOCK]).try_into().expect("one block");
        let mut sums = *out;
        for row in x.chunks_exact(cols) {
            let row: &[f32; BLOCK] = row[j..j + BLOCK].try_into().expect("one block");
            for lane in 0..BLOCK {
                sums[lane] += row[lane];
            }
        }
        *out = sums;
    }
    if full < cols {
        for row in x.chunks_exact(cols) {
            for (out, x) in out[full..].iter_mut().zip(&row[full..]) {
                *out += x;
            }
        }
    }
}

#[inline(always)]
fn mean_axis_generic<const FMA: bool>(outer: usize, len: usize, inner: usize, x: &[f32], out: &mut [f32]) {
    assert!(x.len() == outer * len * inner && out.len() == outer * inner && len > 0);
    if out.is_empty() {
        return;
    }
    let factor = 1.0 / len as f32;
    for (x, out) in x.chunks_exact(len * inner).zip(out.chunks_exact_mut(inner)) {
        out.fill(0.0);
        sum_rows_generic::<FMA>(len, inner, x, out);
        scale_in_place_generic::<FMA>(factor, out);
    }
}

#[inline(always)]
fn mean_axis_backward_generic<const FMA: bool>(outer: usize, len: usize, inner: usize, dy: &[f32], dx: &mut [f32]) {
    assert!(dx.len() == outer * len * inner && dy.len() == outer * inner && len > 0);
    if dy.is_empty() {
        return;
    }
    let factor = 1.0 / len as f32;
    for (dx, dy) in dx.chunks_exact_mut(len * inner).zip(dy.chunks_exact(inner)) {
        for dx in dx.chunks_exact_mut(inner) {
            scale_generic::<FMA>(factor, dy, dx);
        }
    }
}

multiversion! {
    /// `out = a + b`.
    pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) = add_generic;
    /// `out = a · b`, element by element.
    pub fn multiply(a: &[f32], b: &[f32], out: &mut [f32]) = multiply_generic;
    /// `out[i, j] = a[i, j] + suffix[j]`: `suffix` has the shape of the last axes of `a`.
    pub fn add_rows(a: &[f32], suffix: &[f32], out: &mut [f32]) = add_rows_generic;
    /// `out[i, j] += suffix[j]`.
    pub fn add_rows_in_place(out: &mut [f32], suffix: &[f32]) = add_rows_in_place_generic;
    /// `out = factor · x`.
    pub fn scale(factor: f32, x: &[f32], out: &mut [f32]) = scale_generic;
    /// `x = factor · x`.
    pub fn scale_in_place(factor: f32, x: &mut [f32]) = scale_in_place_generic;
    /// `out += x`.
    pub fn accumulate(x: &[f32], out: &mut [f32]) = accumulate_generic;
    /// `out += factor · x`.
    pub fn accumulate_scaled(factor: f32, x: &[f32], out: &mut [f32]) = accumulate_scaled_generic;
    /// `out[j] += Σ x[i, j]` over the rows of `x`, `[rows, cols]`, in their order: the gradient of a
    /// bias or of a broadcast operand.
    pub fn sum_rows(rows: usize, cols: usize, x: &[f32], out: &mut [f32]) = sum_rows_generic;
    /// `out[o, i] = mean of x[o, :, i]`; `x` is `[outer, len, inner]`.
    pub fn mean_axis(outer: usize, len: usize, inner: usize, x: &[f32], out: &mut [f32]) = mean_axis_generic;
    /// `dx[o, l, i] = dy[o, i] / len`, the gradient of [`mean_axis`].
    pub fn mean_axis_backward(
        outer: usize, len: usize, inner: usize, dy: &[f32], dx: &mut [f32],
    ) = mean_axis_backward_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{assert_close, noise, on_each_isa};

    #[test]
    fn element_by_element() {
        on_each_isa(|_| {
            for len in [1, 2, 7, 33, 130] {
                let (a, b) = (noise(1, len), noise(2, len));
                let pairs = || a.iter().zip(&b);
                let mut out = vec![0.0; len];
                add(&a, &b, &mut out);
                assert_eq!(out, pairs().map(|(a, b)| a + b).collect::<Vec<_>>());
                multiply(&a, &b, &mut out);
                assert_eq!(out, pairs().map(|(a, b)| a * b).collect::<Vec<_>>());
                scale(3.0, &a, &mut out);
                assert_eq!(out, a.iter().map(|a| a * 3.0).collect::<Vec<_>>());
                out.copy_from_slice(&a);
                scale_in_place(3.0, &mut out);
                assert_eq!(out, a.iter().map(|a| a * 3.0).collect::<Vec<_>>());
                out.copy_from_slice(&b);
                accumulate(&a, &mut out);
                assert_eq!(out, pairs().map(|(a, b)| a + b).collect::<Vec<_>>());
                out.copy_from_slice(&b);
                accumulate_scaled(0.5, &a, &mut out);
                assert_eq!(out, pairs().map(|(a, b)| b + a * 0.5).collect::<Vec<_>>());
            }
        });
    }

    #[test]
    fn broadcasts_and_reductions() {
        on_each_isa(|isa| {
            for (rows, cols) in [(1, 1), (3, 2), (2, 7), (17, 33), (5, 64), (4, 130)] {
                let what = format!("{isa:?} {rows}x{cols}");
                let (x, suffix) = (noise(1, rows * cols), noise(2, cols));
                let expected: Vec<f32> = (0..x.len()).map(|i| x[i] + suffix[i % cols]).collect();
                let mut out = vec![0.0; x.len()];
                add_rows(&x, &suffix, &mut out);
                assert_eq!(out, expected, "{what}");
                out.copy_from_slice(&x);
                add_rows_in_place(&mut out, &suffix);
                assert_eq!(out, expected, "{what}");

                let sum = |j: usize| (0..rows).map(|i| f64::from(x[i * cols + j])).sum::<f64>();
                let mut sums = suffix.clone();
                sum_rows(rows, cols, &x, &mut sums);
                let expected: Vec<f64> = (0..cols).map(|j| f64::from(suffix[j]) + sum(j)).collect();
                assert_close(&sums, &expected, 2e-6, &what);

                let twice = [x.clone(), x.clone()].concat();
                let mut means = vec![0.0; 2 * cols];
                mean_axis(2, rows, cols, &twice, &mut means);
                let expected: Vec<f64> = (0..2 * cols).map(|j| sum(j % cols) / rows as f64).collect();
                assert_close(&means, &expected, 2e-6, &what);
                let mut dx = vec![0.0; 2 * x.len()];
                mean_axis_backward(2, rows, cols, &means, &mut dx);
                let expected: Vec<f64> = (0..dx.len())
                    .map(|i| f64::from(means[i / (rows * cols) * cols + i % cols]) / rows as f64)
                    .collect();
                assert_close(&dx, &expected, 1e-6, &what);
            }
        });
    }
}
