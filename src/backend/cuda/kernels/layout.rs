//! Copies that move, repeat, cut or pad, permutations, means over an axis and their gradient.
//!
//! Input and output may differ in their elements: each copy also converts.

use super::{flat, int, source, vector};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::ops::Movement,
};

pub const SOURCE: Source = source!("layout");

const THREADS: usize = 256;
/// Axes that `permute` in `layout.cu` takes.
const AXES: usize = 8;
/// Blocks along the second and third axis of a grid: at most 65535.
const GRID: usize = 32768;

/// Runs of elements, one in each row of a tensor: `start` from the row's start, rows `row` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRuns<P> {
    pub at: P,
    pub element: Element,
    pub row: usize,
    pub start: usize,
}

fn defines(from: Element, to: Element, vector: usize) -> Vec<(&'static str, String)> {
    vec![("FROM", from.name().to_owned()), ("TO", to.name().to_owned()), ("VECTOR", vector.to_string())]
}

/// The most elements that both types can move at once in runs of these lengths.
fn common_vector(from: Element, to: Element, lengths: &[usize]) -> usize {
    let largest = from.vector().max(to.vector());
    lengths.iter().map(|&length| vector(length, largest)).min().unwrap_or(1)
}

fn count_arg<P>(value: usize) -> Arg<P> {
    Arg::U32(int(value) as u32)
}

/// Copies a run of `run` elements in each of `rows` rows. What a slice, a part of a concatenation
/// (its rows are the output's), a repetition (`from.row` is 0) and a conversion (one row) are.
pub fn copy<P>(rows: usize, run: usize, from: RowRuns<P>, to: RowRuns<P>) -> Launch<P> {
    let lengths = [run, from.row, from.start, to.row, to.start];
    let vector = common_vector(from.element, to.element, &lengths);
    let defines = defines(from.element, to.element, vector);
    let args = vec![
        count_arg(rows * run),
        count_arg(run),
        Arg::Pointer(from.at),
        count_arg(from.row),
        count_arg(from.start),
        Arg::Pointer(to.at),
        count_arg(to.row),
        count_arg(to.start),
    ];
    flat(SOURCE, "copy", (defines, vector), rows * run, args)
}

/// `length` entries of the middle axis of x `[outer, axis, inner]`, from `start` on.
pub fn slice<P>(
    [outer, axis, inner]: [usize; 3],
    start: usize,
    length: usize,
    (from, x): (Element, P),
    (to, y): (Element, P),
) -> Launch<P> {
    let from = RowRuns { at: x, element: from, row: axis * inner, start: start * inner };
    copy(outer, length * inner, from, RowRuns { at: y, element: to, row: length * inner, start: 0 })
}

/// Part of a concatenation along the middle axis of y `[outer, axis, inner]`: x `[outer, length,
/// inner]` goes to the entries from `start` on.
pub fn place<P>(
    [outer, axis, inner]: [usize; 3],
    start: usize,
    length: usize,
    (from, x): (Element, P),
    (to, y): (Element, P),
) -> Launch<P> {
    let from = RowRuns { at: x, element: from, row: length * inner, start: 0 };
    copy(outer, length * inner, from, RowRuns { at: y, element: to, row: axis * inner, start: start * inner })
}

/// x `[len]` repeated `count` times: y `[count, len]`.
pub fn expand<P>(count: usize, len: usize, (from, x): (Element, P), (to, y): (Element, P)) -> Launch<P> {
    let from = RowRuns { at: x, element: from, row: 0, start: 0 };
    copy(count, len, from, RowRuns { at: y, element: to, row: len, start: 0 })
}

/// Zeros `before` and `after` along the middle axis of x `[outer, length, inner]`.
pub fn pad<P>(
    [outer, length, inner]: [usize; 3],
    before: usize,
    after: usize,
    (from, x): (Element, P),
    (to, y): (Element, P),
) -> Launch<P> {
    let (run, row) = (length * inner, (before + length + after) * inner);
    let vector = common_vector(from, to, &[run, row, before * inner]);
    let args = vec![
        count_arg(outer * row),
        count_arg(run),
        Arg::Pointer(x),
        Arg::Pointer(y),
        count_arg(row),
        count_arg(before * inner),
    ];
    flat(SOURCE, "pad", (defines(from, to, vector), vector), outer * row, args)
}

/// The mean over the middle axis of x `[outer, length, inner]`: y `[outer, inner]`.
pub fn mean<P>([outer, length, inner]: [usize; 3], (from, x): (Element, P), (to, y): (Element, P)) -> Launch<P> {
    let rows = outer.clamp(1, GRID);
    Launch {
        source: SOURCE,
        defines: defines(from, to, 1),
        entry: "mean",
        grid: [inner.div_ceil(32) as u32, rows as u32, outer.div_ceil(rows) as u32],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args: vec![
            Arg::U32(int(outer) as u32),
            Arg::I32(int(length)),
            Arg::I32(int(inner)),
            Arg::Pointer(x),
            Arg::Pointer(y),
        ],
    }
}

/// `dx[o, l, i] = dy[o, i] / length`: dy `[outer, inner]`, dx `[outer, length, inner]`.
pub fn mean_gradient<P>(
    [outer, length, inner]: [usize; 3],
    (from, dy): (Element, P),
    (to, dx): (Element, P),
) -> Launch<P> {
    let vector = common_vector(from, to, &[inner]);
    let count = outer * length * inner;
    let args = vec![count_arg(count), count_arg(length), count_arg(inner), Arg::Pointer(dy), Arg::Pointer(dx)];
    flat(SOURCE, "mean_gradient", (defines(from, to, vector), vector), count, args)
}

/// Sizes and source strides of a permutation's target, the last axis first: axes that stay
/// neighbours are one, those of size 1 are gone.
fn merged(shape: &[usize], axes: &[usize]) -> Vec<(usize, usize)> {
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for &axis in axes.iter().rev() {
        let (size, stride) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        match merged.last_mut() {
            _ if size == 1 => {}
            Some((inner, step)) if stride == *inner * *step => *inner *= size,
            _ => merged.push((size, stride)),
        }
    }
    merged
}

/// Axis `i` of y is axis `axes[i]` of x, whose shape is given: at most 8 axes that do not merge.
pub fn permute<P>(shape: &[usize], axes: &[usize], (from, x): (Element, P), (to, y): (Element, P)) -> Launch<P> {
    let count: usize = shape.iter().product();
    let merged = merged(shape, axes);
    match merged[..] {
        // The last axis of x becomes the second last.
        [(rows, stride), (columns, 1)] if stride == columns => {
            return transpose([1, rows, columns], (from, x), (to, y));
        }
        [(rows, stride), (columns, 1), (batch, _)] if stride == columns && columns * rows * batch == count => {
            return transpose([batch, rows, columns], (from, x), (to, y));
        }
        _ => {}
    }
    assert!(merged.len() <= AXES, "a permutation of {} axes", merged.len());
    let last = merged.first().filter(|(_, stride)| *stride == 1).map_or(1, |&(size, _)| size);
    let strides = merged.iter().skip(1).map(|&(_, stride)| stride);
    let vector = common_vector(from, to, &strides.chain([last]).collect::<Vec<_>>());
    let mut args = vec![count_arg(count)];
    for axis in 0..AXES {
        let (size, stride) = merged.get(axis).copied().unwrap_or((1, 0));
        args.extend([size, stride].map(|value| Arg::U32(int(value) as u32)));
    }
    args.extend([Arg::Pointer(x), Arg::Pointer(y)]);
    flat(SOURCE, "permute", (defines(from, to, vector), vector), count, args)
}

/// An axis of a translation: its sizes in y and in x, and by how much entries move, cyclically or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moved {
    to: usize,
    from: usize,
    by: isize,
    cyclic: bool,
}

/// The axes of a translation, the last first. Those that do not move are one with the axis before them.
fn moved(shape: &[usize], movements: &[Movement]) -> Vec<Moved> {
    let mut axes: Vec<Moved> = Vec::new();
    for (axis, &entries) in shape.iter().enumerate() {
        match (movements.iter().find(|movement| movement.axis == axis), axes.last_mut()) {
            (Some(&Movement { by, length, cyclic, .. }), _) => {
                let by = if cyclic { by.rem_euclid(entries.max(1) as isize) } else { by };
                axes.push(Moved { to: length, from: entries, by, cyclic });
            }
            (None, Some(before)) => {
                before.to *= entries;
                before.from *= entries;
                before.by *= entries as isize;
            }
            (None, None) => axes.push(Moved { to: entries, from: entries, by: 0, cyclic: false }),
        }
    }
    axes.reverse();
    axes
}

/// Entries of x, whose shape is given, at other places along at most 3 axes; zeros are where none comes to.
pub fn translate<P>(
    shape: &[usize],
    movements: &[Movement],
    (from, x): (Element, P),
    (to, y): (Element, P),
) -> Launch<P> {
    const AXES: usize = 4;
    let axes = moved(shape, movements);
    assert!(axes.len() <= AXES, "a translation of {} axes", axes.len());
    let lengths = axes.first().map_or([1; 3], |last| [last.to, last.from, last.by.unsigned_abs()]);
    let vector = common_vector(from, to, &lengths);
    let count = axes.iter().map(|axis| axis.to).product();
    let mut args = vec![count_arg(count)];
    for axis in 0..AXES {
        let Moved { to, from, by, cyclic } =
            axes.get(axis).copied().unwrap_or(Moved { to: 1, from: 1, by: 0, cyclic: false });
        let by = i32::try_from(by).unwrap_or(i32::MAX);
        args.extend([Arg::I32(int(to)), Arg::I32(int(from)), Arg::I32(by), Arg::U32(u32::from(cyclic))]);
    }
    args.extend([Arg::Pointer(x), Arg::Pointer(y)]);
    flat(SOURCE, "translate", (defines(from, to, vector), vector), count, args)
}

/// x `[batch, rows, columns]` to y `[batch, columns, rows]`, through tiles in shared memory.
fn transpose<P>([batch, rows, columns]: [usize; 3], (from, x): (Element, P), (to, y): (Element, P)) -> Launch<P> {
    Launch {
        source: SOURCE,
        defines: defines(from, to, 1),
        entry: "transpose",
        grid: [columns.div_ceil(32) as u32, rows.div_ceil(32) as u32, batch.min(GRID) as u32],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args: vec![
            Arg::U32(int(batch) as u32),
            Arg::I32(int(rows)),
            Arg::I32(int(columns)),
            Arg::Pointer(x),
            Arg::Pointer(y),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::{isa::tests::noise, transpose as cpu},
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{ELEMENTS, assert_near_floats},
        },
    };

    /// All pairs of types, for an input of these many elements.
    fn on_each_pair(len: usize, mut check: impl FnMut(&[f32], (Element, &Memory), Element)) {
        for from in ELEMENTS {
            for to in ELEMENTS {
                let x = Memory::of_floats(&noise(len as u32, len), from);
                check(&x.floats(from), (from, &x), to);
            }
        }
    }

    #[track_caller]
    fn assert_same(y: &Memory, to: Element, expected: &[f32], what: &str) {
        let tolerance = if to == Element::F32 { 1e-6 } else { 4e-3 };
        assert_near_floats(&y.floats(to), expected, tolerance, &format!("{what} {to:?}"));
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn slices_parts_repetitions_and_zeros() {
        for ([outer, axis, inner], start, length) in [([3, 5, 7], 1, 3), ([2, 4, 16], 3, 1), ([1, 9, 8], 0, 9)] {
            on_each_pair(outer * axis * inner, |x, (from, at), to| {
                let y = Memory::empty(outer * length * inner, to);
                run_all([slice([outer, axis, inner], start, length, (from, at.at()), (to, y.at()))]);
                let rows = x.chunks(axis * inner);
                let cut: Vec<f32> =
                    rows.flat_map(|row| &row[start * inner..(start + length) * inner]).copied().collect();
                assert_same(&y, to, &cut, "slice");

                let padded = Memory::empty(x.len(), from);
                let after = axis - start - length;
                run_all([pad([outer, length, inner], start, after, (to, y.at()), (from, padded.at()))]);
                let inside = |i: usize| (start..start + length).contains(&(i / inner % axis));
                let zeros: Vec<f32> = (0..x.len()).map(|i| if inside(i) { x[i] } else { 0.0 }).collect();
                assert_near_floats(&padded.floats(from), &zeros, 4e-3, "pad");

                let whole = Memory::of_floats(&vec![9.0; x.len()], from);
                run_all([place([outer, axis, inner], start, length, (to, y.at()), (from, whole.at()))]);
                let nines: Vec<f32> = (0..x.len()).map(|i| if inside(i) { x[i] } else { 9.0 }).collect();
                assert_near_floats(&whole.floats(from), &nines, 4e-3, "place");

                let many = Memory::empty(3 * x.len(), to);
                run_all([expand(3, x.len(), (from, at.at()), (to, many.at()))]);
                assert_same(&many, to, &x.repeat(3), "expand");
            });
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn means_over_an_axis() {
        for [outer, length, inner] in [[3, 5, 7], [2, 33, 40], [7, 1, 8], [1, 3, 1]] {
            on_each_pair(outer * length * inner, |x, (from, at), to| {
                let (y, dx) = (Memory::empty(outer * inner, to), Memory::empty(x.len(), to));
                let shape = [outer, length, inner];
                run_all([mean(shape, (from, at.at()), (to, y.at()))]);
                let sum = |o: usize, i: usize| (0..length).map(|l| x[(o * length + l) * inner + i]).sum::<f32>();
                let expected: Vec<f32> =
                    (0..outer * inner).map(|at| sum(at / inner, at % inner) / length as f32).collect();
                assert_same(&y, to, &expected, "mean");
                let dy = &x[..outer * inner];
                run_all([mean_gradient(shape, (from, at.at()), (to, dx.at()))]);
                let expected: Vec<f32> =
                    (0..x.len()).map(|at| dy[at / (length * inner) * inner + at % inner] / length as f32).collect();
                assert_same(&dx, to, &expected, "mean gradient");
            });
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn permutations() {
        let shapes: [(&[usize], &[usize]); 10] = [
            (&[5, 7], &[1, 0]),
            (&[3, 40, 33], &[0, 2, 1]),
            (&[3, 4, 33], &[2, 0, 1]),
            (&[3, 4, 5], &[1, 0, 2]),
            (&[3, 4, 16], &[1, 0, 2]),
            (&[2, 4, 3, 4, 3, 2], &[0, 1, 3, 2, 4, 5]),
            (&[2, 3, 2, 3, 2, 3, 2, 3], &[7, 5, 3, 1, 6, 4, 2, 0]),
            (&[6], &[0]),
            (&[3, 1, 5, 9], &[0, 3, 1, 2]),
            (&[2, 3, 4, 5], &[3, 1, 2, 0]),
        ];
        for (shape, axes) in shapes {
            on_each_pair(shape.iter().product(), |x, (from, at), to| {
                let y = Memory::empty(x.len(), to);
                run_all([permute(shape, axes, (from, at.at()), (to, y.at()))]);
                let mut expected = vec![0.0; x.len()];
                cpu::permute(shape, axes, x, &mut expected);
                assert_same(&y, to, &expected, &format!("{shape:?} {axes:?}"));
            });
        }
        let (x, y) = ((Element::F32, 0), (Element::F32, 1));
        assert_eq!(permute(&[2, 3, 4, 5], &[0, 3, 1, 2], x, y).entry, "transpose");
        assert_eq!(permute(&[2, 3, 4, 5], &[0, 2, 1, 3], x, y).entry, "permute");
    }
}
