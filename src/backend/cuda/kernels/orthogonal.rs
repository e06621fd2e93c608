//! What the directions of matrices need besides products.

use super::{BLOCKS, flat, int, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::ops::Direction,
};

pub const SOURCE: Source = source!("orthogonal");

const THREADS: usize = 256;

/// Elements whose squares a block adds.
fn chunk(count: usize) -> usize {
    count.div_ceil(BLOCKS).next_multiple_of(4 * THREADS)
}

/// Floats of workspace for [`normalise`].
#[must_use]
pub fn workspace(count: usize) -> usize {
    count.div_ceil(chunk(count)).max(1)
}

fn u32(value: usize) -> u32 {
    int(value) as u32
}

fn defines(element: Element) -> Vec<(&'static str, String)> {
    vec![("OPERAND", element.name().to_owned())]
}

/// `y = x / (|x| + epsilon)`: x float32 `[rows, columns]` with rows `stride` apart, y of `element` without gaps. The
/// workspace has [`workspace`] floats.
pub fn normalise<P: Clone>(
    [rows, columns]: [usize; 2],
    stride: usize,
    x: P,
    parts: P,
    (element, y): (Element, P),
) -> [Launch<P>; 2] {
    let count = rows * columns;
    let blocks = workspace(count);
    let extents = || vec![Arg::U32(u32(count)), Arg::U32(u32(columns)), Arg::U32(u32(stride))];
    let mut squares = extents();
    squares.extend([Arg::U32(u32(chunk(count))), Arg::Pointer(x.clone()), Arg::Pointer(parts.clone())]);
    let mut scaled = extents();
    scaled.extend([Arg::U32(u32(blocks)), Arg::F32(Direction::EPSILON)]);
    scaled.extend([x, parts, y].map(Arg::Pointer));
    let squares = Launch {
        source: SOURCE,
        defines: defines(element),
        entry: "sum_of_squares",
        grid: [blocks as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args: squares,
    };
    [squares, flat(SOURCE, "normalise", (defines(element), 1), count, scaled)]
}

/// The polynomial of a step of Newton-Schulz, times `scale`, of a square and its square: all `[size, size]` of `element`.
pub fn polynomial<P>(size: usize, scale: f32, element: Element, square: P, fourth: P, factor: P) -> Launch<P> {
    let mut args = vec![Arg::U32(u32(size))];
    args.extend(Direction::COEFFICIENTS.map(|coefficient| Arg::F32(coefficient * scale)));
    args.extend([square, fourth, factor].map(Arg::Pointer));
    flat(SOURCE, "polynomial", (defines(element), 1), size * size, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::isa::tests::noise,
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{ELEMENTS, assert_near},
        },
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn rows_with_gaps_are_normalised() {
        for element in ELEMENTS {
            for (rows, columns, stride) in [(1, 1, 1), (5, 7, 19), (300, 70, 70)] {
                let x = noise(1, rows * stride);
                let (memory, parts) = (Memory::of(&x), Memory::empty(workspace(rows * columns), Element::F32));
                let y = Memory::empty(rows * columns, element);
                run_all(normalise([rows, columns], stride, memory.at(), parts.at(), (element, y.at())));
                let at = |i: usize| f64::from(x[i / columns * stride + i % columns]);
                let norm = (0..rows * columns).map(|i| at(i) * at(i)).sum::<f64>().sqrt();
                let expected: Vec<f64> = (0..rows * columns).map(|i| at(i) / norm).collect();
                let tolerance = if element == Element::F32 { 1e-6 } else { 4e-3 };
                assert_near(&y.floats(element), &expected, tolerance, &format!("{element:?} {rows}x{columns}"));
            }
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn polynomials() {
        for element in ELEMENTS {
            for size in [1, 5, 33] {
                let [square, fourth] = [2, 3].map(|seed| Memory::of_floats(&noise(seed, size * size), element));
                let factor = Memory::empty(size * size, element);
                run_all([polynomial(size, 2.0, element, square.at(), fourth.at(), factor.at())]);
                let (x, y) = (square.floats(element), fourth.floats(element));
                let expected = |i: usize| {
                    let diagonal = if i.is_multiple_of(size + 1) { 3.4445 } else { 0.0 };
                    2.0 * (diagonal - 4.775 * f64::from(x[i]) + 2.0315 * f64::from(y[i]))
                };
                let expected: Vec<f64> = (0..size * size).map(expected).collect();
                let tolerance = if element == Element::F32 { 1e-6 } else { 4e-3 };
                assert_near(&factor.floats(element), &expected, tolerance, &format!("{element:?} {size}"));
            }
        }
    }
}
