//! As [`super::dense`], for a kernel that is kept in panels: whole panels are updated, each from its first row
//! to its last, and the next rows are asked for while a piece of the gradient is made.

use std::ops::Range;

use super::{Rates, step};
use crate::backend::cpu::kernels::{
    ahead,
    gemm::{self, Mat, NR, panels::Panels},
};

/// Rows of a piece: those of four panels, of the kernel, its moments and the gradient, are a quarter of a core's
/// second-level cache.
const ROWS: usize = 21 * gemm::MR;

/// Length of [`update`]'s scratch for so many columns.
#[must_use]
pub fn scratch_len(batch: usize, columns: usize) -> usize {
    let piece = ROWS * columns + Panels::gradient_scratch_len(batch, ROWS);
    gemm::packed_len(batch, columns) + piece + gemm::ALIGNMENT
}

/// [`step`] on some columns of a kernel, whole panels, by the gradient `xᵀ·dy`: `x` is `[batch, k]`, `dy` `[batch, n]`,
/// the kernel and its moments are just those panels. `scratch` holds [`scratch_len`] elements.
///
/// # Panics
/// When a slice does not have its length.
pub fn update(
    Panels { k, n }: Panels,
    columns: Range<usize>,
    x: &[f32],
    dy: &[f32],
    param: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    rates: &Rates,
    scratch: &mut [f32],
) {
    let (batch, width) = (x.len() / k, columns.len());
    let part = Panels { k, n: width };
    assert!(x.len() == batch * k && dy.len() == batch * n && columns.end <= n, "lengths of x and dy");
    assert!([param.len(), m.len(), v.len()] == [k * width; 3] && width.is_multiple_of(NR), "whole panels");
    let (packed, scratch) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(batch, width));
    let (gradient, scratch) = scratch.split_at_mut(ROWS * width);
    gemm::pack_b(batch, width, Mat::rows(&dy[columns.start..], n), packed);
    // Of one panel: those of a piece that begins at a row.
    let rows = |top: usize, panel: usize| (panel * k + top) * NR..(panel * k + k.min(top + ROWS)) * NR;
    for top in (0..k).step_by(ROWS) {
        ahead::begin(0);
        for next in (0..width / NR).filter(|_| top + ROWS < k).map(|panel| rows(top + ROWS, panel)) {
            for tensor in [&*param, m, v] {
                ahead::announce_part(&tensor[next.clone()]);
            }
        }
        let height = ROWS.min(k - top);
        let gradient = &mut gradient[..height * width];
        part.gradient(x, top..top + height, packed, gradient, scratch);
        for (panel, gradient) in gradient.chunks_exact(height * NR).enumerate() {
            let part = rows(top, panel);
            step(&mut param[part.clone()], gradient, &mut m[part.clone()], &mut v[part], rates);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::dense, *};
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    #[test]
    fn as_in_rows() {
        on_each_isa(|isa| {
            for (batch, k, n) in [(1, 1, 32), (3, 50, 64), (300, 13, 32), (20, 600, 96)] {
                let panels = Panels::new(k, n).unwrap();
                let (x, dy) = (noise(1, batch * k), noise(2, batch * n));
                let rates = Rates::new(0.01, 0.1, 0.9, 0.999, 1e-7, 3);
                let mut expected = [3, 4, 5].map(|seed| noise(seed, k * n));
                expected[2].iter_mut().for_each(|v| *v = v.abs());
                let mut actual = [0; 3].map(|_| vec![0.0; k * n]);
                for (rows, in_panels) in expected.iter().zip(&mut actual) {
                    panels.pack(rows, in_panels);
                }

                let [w, m, v] = &mut expected;
                let mut scratch = vec![f32::NAN; dense::scratch_len(batch, k, n)];
                dense::update(Mat::transposed(&x, k), &dy, n, w, m, v, &rates, &mut scratch);
                let [w, m, v] = &mut actual;
                for columns in [0..NR, NR..n] {
                    let part = columns.start * k..columns.end * k;
                    let mut scratch = vec![f32::NAN; scratch_len(batch, columns.len())];
                    let [w, m, v] = [&mut *w, m, v].map(|tensor| &mut tensor[part.clone()]);
                    update(panels, columns, &x, &dy, w, m, v, &rates, &mut scratch);
                }
                for (in_panels, expected) in actual.iter().zip(&expected) {
                    let mut rows = vec![0.0; k * n];
                    panels.unpack(in_panels, &mut rows);
                    assert_eq!(&rows, expected, "{isa:?} {batch} {k}x{n}");
                }
            }
        });
    }
}
