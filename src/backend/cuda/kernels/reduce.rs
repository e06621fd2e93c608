//! Sums over leading axes, and the search for values that are not finite.

use super::{BLOCKS, int, source, vector};
use crate::backend::cuda::launch::{Arg, Element, Launch, Source};

pub const SOURCE: Source = source!("reduce");

const THREADS: usize = 256;

/// How a sum over rows is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    vector: usize,
    /// Threads side by side along a row.
    lanes: usize,
    tiles: usize,
    /// Rows that one block adds.
    chunk: usize,
    chunks: usize,
}

impl Cut {
    fn new(rows: usize, columns: usize, element: Element) -> Self {
        let vector = vector(columns, element.vector());
        let lanes = columns.div_ceil(vector).next_power_of_two().min(32);
        let tiles = columns.div_ceil(lanes * vector);
        // At least four rows for each thread: fewer are not worth a second stage.
        let least = 4 * THREADS / lanes;
        let chunks = (BLOCKS / tiles).clamp(1, rows.div_ceil(least).max(1));
        let chunk = rows.div_ceil(chunks).max(1);
        Self { vector, lanes, tiles, chunk, chunks: rows.div_ceil(chunk).max(1) }
    }
}

/// Floats of workspace for [`sum_rows`].
#[must_use]
pub fn sum_rows_workspace(rows: usize, columns: usize, element: Element) -> usize {
    match Cut::new(rows, columns, element).chunks {
        1 => 0,
        chunks => chunks * columns,
    }
}

/// `out[j] = Σ x[i, j]`: x `[rows, columns]` of `element`, out `[columns]` float32. The workspace
/// has [`sum_rows_workspace`] floats. One launch or two.
pub fn sum_rows<P: Clone>(rows: usize, columns: usize, element: Element, x: P, workspace: P, out: P) -> Vec<Launch<P>> {
    let cut = Cut::new(rows, columns, element);
    if cut.chunks == 1 {
        return vec![stage(rows, columns, element, cut, x, out)];
    }
    vec![stage(rows, columns, element, cut, x, workspace.clone()), sum_parts(cut.chunks, columns, workspace, out)]
}

/// The sum over the rows of float partial results `[parts, columns]`, in one launch: narrow tiles, so
/// that many threads share the rows of each.
pub fn sum_parts<P>(parts: usize, columns: usize, x: P, out: P) -> Launch<P> {
    let vector = vector(columns, Element::F32.vector());
    let lanes = columns.div_ceil(vector).next_power_of_two().min(16 / vector);
    let cut = Cut { vector, lanes, tiles: columns.div_ceil(lanes * vector), chunk: parts, chunks: 1 };
    stage(parts, columns, Element::F32, cut, x, out)
}

fn stage<P>(rows: usize, columns: usize, element: Element, cut: Cut, x: P, out: P) -> Launch<P> {
    Launch {
        source: SOURCE,
        defines: defines(element, cut.vector, cut.lanes),
        entry: "sum_rows",
        grid: [cut.tiles as u32, cut.chunks as u32, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args: vec![
            Arg::I32(int(rows)),
            Arg::I32(int(columns)),
            Arg::I32(int(cut.chunk)),
            Arg::Pointer(x),
            Arg::Pointer(out),
        ],
    }
}

fn defines(element: Element, vector: usize, lanes: usize) -> Vec<(&'static str, String)> {
    vec![("IN", element.name().to_owned()), ("VECTOR", vector.to_string()), ("LANES", lanes.to_string())]
}

/// Sets the u32 `found` to 1 if any of the `count` elements of x is infinite or NaN; else it stays.
pub fn find_bad<P>(count: usize, element: Element, x: P, found: P) -> Launch<P> {
    Launch {
        source: SOURCE,
        defines: defines(element, 1, 32),
        entry: "find_bad",
        grid: [count.div_ceil(THREADS).clamp(1, 4 * BLOCKS) as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::U64(count as u64), Arg::Pointer(x), Arg::Pointer(found)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::noise;
    use crate::backend::cuda::{
        emulator::{Memory, run_all},
        kernels::tests::{ELEMENTS, assert_near},
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn sums_of_columns() {
        for element in ELEMENTS {
            for (rows, columns) in [(1, 1), (3, 7), (700, 8), (1000, 33), (257, 64), (65, 300), (5, 1048)] {
                let x = Memory::of_floats(&noise(1, rows * columns), element);
                let workspace = Memory::empty(sum_rows_workspace(rows, columns, element), Element::F32);
                let out = Memory::empty(columns, Element::F32);
                run_all(sum_rows(rows, columns, element, x.at(), workspace.at(), out.at()));
                let x = x.floats(element);
                let expected: Vec<f64> =
                    (0..columns).map(|j| x.iter().skip(j).step_by(columns).map(|&x| f64::from(x)).sum()).collect();
                assert_near(&out.floats(Element::F32), &expected, 1e-5, &format!("{element:?} {rows}x{columns}"));
            }
        }
    }

    #[test]
    fn two_stages_when_there_are_many_rows() {
        assert_eq!(sum_rows(36864, 64, Element::Bf16, 0, 1, 2).len(), 2);
        assert_eq!(sum_rows(16, 64, Element::Bf16, 0, 1, 2).len(), 1);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn bad_values_are_found() {
        for element in ELEMENTS {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
                let mut values = noise(1, 1001);
                values[1000] = bad;
                let (x, found) = (Memory::of_floats(&values, element), Memory::of(&[0_u32]));
                run_all([find_bad(1000, element, x.at(), found.at())]);
                assert_eq!(found.read::<u32>(), [0]);
                run_all([find_bad(1001, element, x.at(), found.at())]);
                assert_eq!(found.read::<u32>(), [u32::from(!bad.is_finite())], "{bad}");
            }
        }
    }
}
