//! As [`super::dense`], for a kernel that is kept in panels: whole panels are updated, each from its first row
//! to its last, and the next rows are asked for while a piece of the gradient is made.

use std::ops::Range;

use super::{Rule, States};
use crate::backend::cpu::kernels::{
    ahead,
    gemm::{self, Mat, NR, panels::Panels},
};

/// Rows of a piece: those of four panels, of the kernel, its slots and the gradient, are a quarter of a core's
/// second-level cache.
const ROWS: usize = 21 * gemm::MR;

/// Length of [`update`]'s scratch for so many columns.
#[must_use]
pub fn scratch_len(batch: usize, columns: usize) -> usize {
    let piece = ROWS * columns + Panels::gradient_scratch_len(batch, ROWS);
    gemm::packed_len(batch, columns) + piece + gemm::ALIGNMENT
}

/// [`Rule::step`] on some columns of a kernel, whole panels, by the gradient `xᵀ·dy`: `x` is `[batch, k]`, `dy`
/// `[batch, n]`, the kernel and its slots are just those panels. `scratch` holds [`scratch_len`] elements.
///
/// # Panics
/// When a slice does not have its length.
pub fn update(
    rule: &Rule,
    Panels { k, n }: Panels,
    columns: Range<usize>,
    x: &[f32],
    dy: &[f32],
    scalars: &[f32],
    states: &mut [&mut [f32]],
    scratch: &mut [f32],
) {
    let (batch, width) = (x.len() / k, columns.len());
    let part = Panels { k, n: width };
    assert!(x.len() == batch * k && dy.len() == batch * n && columns.end <= n, "lengths of x and dy");
    assert!(states.iter().all(|state| state.len() == k * width) && width.is_multiple_of(NR), "whole panels");
    let (packed, scratch) = gemm::cache_aligned(scratch).split_at_mut(gemm::packed_len(batch, width));
    let (gradient, scratch) = scratch.split_at_mut(ROWS * width);
    gemm::pack_b(batch, width, Mat::rows(&dy[columns.start..], n), packed);
    // Of one panel: those of a piece that begins at a row.
    let rows = |top: usize, panel: usize| (panel * k + top) * NR..(panel * k + k.min(top + ROWS)) * NR;
    for top in (0..k).step_by(ROWS) {
        ahead::begin(0);
        for next in (0..width / NR).filter(|_| top + ROWS < k).map(|panel| rows(top + ROWS, panel)) {
            for state in &*states {
                ahead::announce_part(&state[next.clone()]);
            }
        }
        let height = ROWS.min(k - top);
        let gradient = &mut gradient[..height * width];
        part.gradient(x, top..top + height, packed, gradient, scratch);
        for (panel, gradient) in gradient.chunks_exact(height * NR).enumerate() {
            let part = rows(top, panel);
            let mut states: States = states.iter_mut().map(|state| &mut state[part.clone()]).collect();
            rule.step(scalars, gradient, &mut states);
        }
    }
}

/// Length of [`by_gradient`]'s scratch.
pub const GRADIENT_SCRATCH: usize = 2 * ROWS * NR;

/// [`Rule::step_along`] on some columns of a kernel, whole panels, by a gradient, and a direction, `[k, n]` in rows: the
/// kernel and its slots are just those panels. `scratch` holds [`GRADIENT_SCRATCH`] elements.
///
/// # Panics
/// When a slice does not have its length.
pub fn by_gradient(
    rule: &Rule,
    Panels { k, n }: Panels,
    columns: Range<usize>,
    gradient: &[f32],
    direction: Option<&[f32]>,
    scalars: &[f32],
    states: &mut [&mut [f32]],
    scratch: &mut [f32],
) {
    assert!(gradient.len() == k * n && columns.end <= n && columns.len().is_multiple_of(NR), "whole panels");
    assert!(states.iter().all(|state| state.len() == k * columns.len()), "just these panels");
    for (panel, left) in columns.step_by(NR).enumerate() {
        for top in (0..k).step_by(ROWS) {
            let height = ROWS.min(k - top);
            let (piece, along) = scratch.split_at_mut(ROWS * NR);
            let gather = |from: &[f32], to: &mut [f32]| {
                for (to, row) in to[..height * NR].chunks_exact_mut(NR).zip(from[top * n..].chunks_exact(n)) {
                    to.copy_from_slice(&row[left..left + NR]);
                }
            };
            gather(gradient, piece);
            if let Some(direction) = direction {
                gather(direction, along);
            }
            let along = direction.map(|_| &along[..height * NR]);
            let part = (panel * k + top) * NR..(panel * k + top + height) * NR;
            let mut states: States = states.iter_mut().map(|state| &mut state[part.clone()]).collect();
            rule.step_along(scalars, &piece[..height * NR], along, &mut states);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            dense,
            tests::{numbers, rules, states, views},
        },
        *,
    };
    use crate::{
        backend::cpu::kernels::isa::tests::{noise, on_each_isa},
        graph::optimizers::{self, Optimizer},
    };

    #[test]
    fn as_in_rows() {
        on_each_isa(|isa| {
            for (batch, k, n) in [(1, 1, 32), (3, 50, 64), (300, 13, 32), (20, 600, 96)] {
                let panels = Panels::new(k, n).unwrap();
                let (x, dy) = (noise(1, batch * k), noise(2, batch * n));
                for (name, rule, count, scalars) in rules() {
                    let mut expected = states(count, k * n);
                    let mut actual = vec![vec![0.0; k * n]; count];
                    for (rows, in_panels) in expected.iter().zip(&mut actual) {
                        panels.pack(rows, in_panels);
                    }

                    let mut scratch = vec![f32::NAN; dense::scratch_len(batch, k, n)];
                    let xt = Mat::transposed(&x, k);
                    dense::update(&rule, xt, &dy, n, &scalars, &mut views(&mut expected), &mut scratch);
                    for columns in [0..NR, NR..n] {
                        let part = columns.start * k..columns.end * k;
                        let mut scratch = vec![f32::NAN; scratch_len(batch, columns.len())];
                        let mut parts: States = actual.iter_mut().map(|state| &mut state[part.clone()]).collect();
                        update(&rule, panels, columns, &x, &dy, &scalars, &mut parts, &mut scratch);
                    }
                    check(panels, &actual, &expected, &format!("{isa:?} {name} {batch} {k}x{n}"));
                }
            }
        });
    }

    #[track_caller]
    fn check(panels: Panels, actual: &[Vec<f32>], expected: &[Vec<f32>], what: &str) {
        for (in_panels, expected) in actual.iter().zip(expected) {
            let mut rows = vec![0.0; in_panels.len()];
            panels.unpack(in_panels, &mut rows);
            assert_eq!(&rows, expected, "{what}");
        }
    }

    #[test]
    fn by_a_gradient_in_memory() {
        on_each_isa(|isa| {
            for (k, n) in [(1, 32), (50, 64), (600, 96)] {
                let panels = Panels::new(k, n).unwrap();
                let gradient = noise(3, k * n);
                let muon = Optimizer::of(optimizers::find("muon").unwrap());
                let muon = ("muon".to_owned(), Rule::new(&muon).unwrap(), 2, numbers(&muon, 2));
                for (name, rule, count, scalars) in rules().into_iter().chain([muon]) {
                    let mut expected = states(count, k * n);
                    let mut actual = vec![vec![0.0; k * n]; count];
                    for (rows, in_panels) in expected.iter().zip(&mut actual) {
                        panels.pack(rows, in_panels);
                    }
                    let along = noise(4, k * n);
                    let along = (name == "muon").then_some(&along[..]);
                    rule.step_along(&scalars, &gradient, along, &mut views(&mut expected));
                    let mut scratch = vec![f32::NAN; GRADIENT_SCRATCH];
                    for columns in [0..NR, NR..n] {
                        let part = columns.start * k..columns.end * k;
                        let mut parts: States = actual.iter_mut().map(|state| &mut state[part.clone()]).collect();
                        by_gradient(&rule, panels, columns, &gradient, along, &scalars, &mut parts, &mut scratch);
                    }
                    check(panels, &actual, &expected, &format!("{isa:?} {name} {k}x{n}"));
                }
            }
        });
    }
}
