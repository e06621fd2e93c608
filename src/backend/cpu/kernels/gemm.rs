//! Matrix products `C = A·B` in `f32`.
//!
//! After Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (ACM TOMS 34:3,
//! 2008): B is packed into panels of [`NR`] columns, a micro-kernel keeps [`MR`] × [`NR`] results in
//! registers while it runs along `k`. Row-major A is read where it lies; transposed A is packed too.
//!
//! Every element of C is one chain of multiply-adds in the order of `k`, started from what it is
//! added to: neither blocking, nor the shape of the rest of the product, nor AVX2 against AVX-512
//! changes a bit of it.

pub mod gathered;
mod pack;
pub mod panels;
mod tile;

use super::{ahead, isa::Isa, stream};

use tile::{Block, Panelled, Start};

/// Rows of a micro-tile.
pub const MR: usize = 12;
/// Columns of a micro-tile, and of a packed panel at most.
pub const NR: usize = 32;
/// Depth of a block: a panel of B of this depth shares the first-level cache with the rows of A.
const KC: usize = 256;
/// Elements between rows of A that are copied to lie well: an odd number of cache lines.
const PADDED: usize = KC + 16;
/// Rows of A packed at once.
const MC: usize = 12 * MR;
/// Rows of C whose products take about as long as it takes to read B.
const FEW_ROWS: usize = 12 * MR;
/// Elements between rows that are read one after the other: more would fall into few sets of the
/// first-level cache, and into a new page each.
const NEAR: usize = 512;
/// Columns of B packed at once: with [`KC`], half of the second-level cache.
const NC: usize = 16 * NR;

/// A matrix somewhere in a slice: element `(i, j)` is `data[i * row_stride + j * col_stride]`. One
/// of the strides is usually 1.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    /// Long enough for the last element.
    pub data: &'a [f32],
    /// Elements from a row to the next.
    pub row_stride: usize,
    /// Elements from a column to the next.
    pub col_stride: usize,
}

impl<'a> Mat<'a> {
    /// Row-major with rows `ld` apart.
    #[must_use]
    pub fn rows(data: &'a [f32], ld: usize) -> Self {
        Self { data, row_stride: ld, col_stride: 1 }
    }

    /// The transpose of a row-major matrix with rows `ld` apart.
    #[must_use]
    pub fn transposed(data: &'a [f32], ld: usize) -> Self {
        Self { data, row_stride: 1, col_stride: ld }
    }

    /// The part from `(i, j)` on.
    fn from(self, i: usize, j: usize) -> Self {
        Self { data: &self.data[i * self.row_stride + j * self.col_stride..], ..self }
    }

    /// Panics unless the matrix holds `rows` × `cols`.
    fn check(self, rows: usize, cols: usize, name: &str) {
        let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        assert!(last < self.data.len(), "{name}: {rows}x{cols} does not fit in {} elements", self.data.len());
    }
}

/// What happens to a product besides being stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Add to what C holds.
    pub accumulate: bool,
    /// `[n]`, added to every row.
    pub bias: Option<&'a [f32]>,
    /// `[m, n]` and its row stride, added. Not together with `accumulate`.
    pub residual: Option<(&'a [f32], usize)>,
}

/// Length of [`gemm`]'s scratch.
#[must_use]
pub fn scratch_len(m: usize, n: usize, k: usize) -> usize {
    let depth = k.min(KC);
    depth * n.min(NC).next_multiple_of(NR) + PADDED * m.min(MC).next_multiple_of(MR) + ALIGNMENT
}

/// `C = A·B`, or `C += A·B` with `accumulate`: A is `[m, k]`, B `[k, n]`, C `[m, n]` with rows `ldc`
/// apart. `scratch` holds [`scratch_len`] elements.
///
/// # Panics
/// When an operand is too short for its shape.
pub fn gemm(
    m: usize,
    n: usize,
    k: usize,
    a: Mat,
    b: Mat,
    c: &mut [f32],
    ldc: usize,
    accumulate: bool,
    scratch: &mut [f32],
) {
    if !prepare(m, n, k, a, c, ldc, &Epilogue { accumulate, ..Epilogue::default() }) {
        return;
    }
    b.check(k, n, "B");
    let scratch = cache_aligned(scratch);
    let (packed_b, packed_a) = scratch.split_at_mut(k.min(KC) * n.min(NC).next_multiple_of(NR));
    let direct = reads_well(a, k);
    let in_place = m <= few_rows() && b.col_stride == 1 && n.is_multiple_of(NR) && b.row_stride <= NEAR;
    for n0 in (0..n).step_by(NC) {
        let cols = NC.min(n - n0);
        for k0 in (0..k).step_by(KC) {
            let depth = KC.min(k - k0);
            if m <= FEW_ROWS && !in_place && k0 + KC < k {
                announce(b.from(k0 + KC, n0), KC.min(k - k0 - KC), cols);
            }
            if !in_place {
                pack::pack_b(depth, cols, b.from(k0, n0), packed_b);
            }
            for m0 in (0..m).step_by(MC) {
                let rows = MC.min(m - m0);
                if !direct && a.col_stride == 1 {
                    pack::pad_a(rows, depth, a.from(m0, k0), packed_a, PADDED);
                } else if !direct {
                    pack::pack_a(rows, depth, a.from(m0, k0), packed_a);
                }
                let (a, a_tile, a_row, a_k) = if direct {
                    (a.from(m0, k0).data, MR * a.row_stride, a.row_stride, a.col_stride)
                } else if a.col_stride == 1 {
                    (&*packed_a, MR * PADDED, PADDED, 1)
                } else {
                    (&*packed_a, MR * depth, 1, MR)
                };
                let block = Block {
                    rows,
                    cols,
                    k: depth,
                    a,
                    a_tile,
                    a_row,
                    a_panel: NR * a_k,
                    a_k,
                    b: if in_place {
                        Panelled::rows(b.from(k0, n0).data, b.row_stride)
                    } else {
                        Panelled::packed(packed_b, depth, 0)
                    },
                    ldc,
                    start: if accumulate || k0 > 0 { Start::Output } else { Start::Zero },
                    bias: None,
                };
                tile::run(&block, &mut c[m0 * ldc + n0..]);
            }
        }
    }
}

/// With few rows, reading B takes as long as the products: the next block is on its way meanwhile.
fn announce(b: Mat, k: usize, n: usize) {
    ahead::begin(0);
    if b.col_stride == 1 {
        ahead::announce_rows(b.data.as_ptr(), n, k, b.row_stride);
    } else {
        ahead::announce_rows(b.data.as_ptr(), k, n, b.col_stride);
    }
}

/// Rows of C for which packing B takes longer than it saves, if its rows are [`NEAR`] each other. AVX2 reads B twice as often.
fn few_rows() -> usize {
    if Isa::current() == Isa::Avx2 { MR } else { FEW_ROWS }
}

/// Columns of a packed panel. AVX2 goes down 16 columns at a time: of a wider panel it would touch every other
/// line, and so have half of the first-level cache for them.
fn width() -> usize {
    if Isa::current() == Isa::Avx2 { NR / 2 } else { NR }
}

/// Length of a packed `[k, n]` matrix.
#[must_use]
pub fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(NR)
}

/// Packs `b`, `[k, n]`, into panels `[n / width][k][width]`, the last one padded with zeros, for
/// [`gemm_packed`]. `out` holds [`packed_len`] elements and best starts on a cache line.
pub fn pack_b(k: usize, n: usize, b: Mat, out: &mut [f32]) {
    if k > 0 && n > 0 {
        b.check(k, n, "B");
        pack::pack_b(k, n, b, out);
    }
}

/// As [`gemm`], with B packed by [`pack_b`].
///
/// # Panics
/// When an operand is too short for its shape.
pub fn gemm_packed(
    m: usize,
    n: usize,
    k: usize,
    a: Mat,
    packed: &[f32],
    c: &mut [f32],
    ldc: usize,
    epilogue: &Epilogue,
) {
    gemm_packed_twice(m, n, k, a, packed, c, ldc, &mut [], epilogue);
}

/// As [`gemm_packed`], also into a `copy` like C, unless that is empty. It is stored past the cache: see [`stream`].
///
/// # Panics
/// When an operand is too short for its shape.
pub fn gemm_packed_twice(
    m: usize,
    n: usize,
    k: usize,
    a: Mat,
    packed: &[f32],
    c: &mut [f32],
    ldc: usize,
    copy: &mut [f32],
    epilogue: &Epilogue,
) {
    assert!(copy.is_empty() || copy.len() == c.len(), "a copy of another length");
    if !prepare(m, n, k, a, c, ldc, epilogue) {
        if !copy.is_empty() {
            copy.copy_from_slice(c);
        }
        return;
    }
    assert!(packed.len() >= packed_len(k, n), "packed B too short");
    let direct = reads_well(a, k);
    for m0 in (0..m).step_by(MC) {
        let rows = MC.min(m - m0);
        for k0 in (0..k).step_by(KC) {
            let depth = KC.min(k - k0);
            let mut run = |first: usize, rows: usize, (a, a_row, a_k): (&[f32], usize, usize)| {
                let block = Block {
                    rows,
                    cols: n,
                    k: depth,
                    a,
                    a_tile: MR * a_row,
                    a_row,
                    a_panel: NR * a_k,
                    a_k,
                    b: Panelled::packed(packed, k, k0),
                    ldc,
                    start: match epilogue.residual {
                        _ if epilogue.accumulate || k0 > 0 => Start::Output,
                        Some((residual, ld)) => Start::From(&residual[first * ld..], ld),
                        None => Start::Zero,
                    },
                    bias: epilogue.bias.filter(|_| k0 == 0),
                };
                let at = first * ldc;
                let copy = if copy.is_empty() || k0 + depth < k { &mut [] } else { &mut copy[at..] };
                tile::run_twice(&block, &mut c[at..], copy);
            };
            if direct {
                run(m0, rows, (a.from(m0, k0).data, a.row_stride, a.col_stride));
            } else {
                let mut strip = [0.0; MR * KC];
                for i in (0..rows).step_by(MR) {
                    let height = MR.min(rows - i);
                    pack::pack_a(height, depth, a.from(m0 + i, k0), &mut strip);
                    run(m0 + i, height, (&strip, 1, MR));
                }
            }
        }
    }
    if !copy.is_empty() {
        stream::finish();
    }
}

/// Checks the operands, and finishes products without depth. False when nothing is left to do.
fn prepare(m: usize, n: usize, k: usize, a: Mat, c: &mut [f32], ldc: usize, epilogue: &Epilogue) -> bool {
    if m == 0 || n == 0 {
        return false;
    }
    assert!(ldc >= n || m == 1, "rows of C overlap");
    assert!(c.len() >= (m - 1) * ldc + n, "C too short");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() >= n), "bias too short");
    if let Some((residual, ld)) = epilogue.residual {
        assert!(!epilogue.accumulate, "a product is added either to C or to a residual");
        assert!(residual.len() >= (m - 1) * ld + n, "residual too short");
    }
    if k == 0 {
        for (i, row) in c.chunks_mut(ldc).take(m).enumerate() {
            for (j, c) in row[..n].iter_mut().enumerate() {
                let start = match epilogue.residual {
                    _ if epilogue.accumulate => *c,
                    Some((residual, ld)) => residual[i * ld + j],
                    None => 0.0,
                };
                *c = start + epilogue.bias.map_or(0.0, |bias| bias[j]);
            }
        }
        return false;
    }
    a.check(m, k, "A");
    true
}

/// Whether A is best read where it lies: contiguous along `k`, with rows not so far apart that a dozen
/// of them fall into one set of the first-level cache (4 KiB apart, or a multiple); or contiguous along
/// `m`, with columns [`NEAR`] each other.
fn reads_well(a: Mat, k: usize) -> bool {
    match (a.row_stride, a.col_stride) {
        (row, 1) => k <= 32 || !row.is_multiple_of(1024),
        (1, column) => column <= NEAR,
        _ => false,
    }
}

/// Room to start on a cache line.
pub(crate) const ALIGNMENT: usize = 16;

/// The part of `scratch` that starts on a cache line.
pub(crate) fn cache_aligned(scratch: &mut [f32]) -> &mut [f32] {
    let skip = scratch.as_ptr().align_offset(64).min(15);
    &mut scratch[skip..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::{
        Isa,
        tests::{assert_close, noise, on_each_isa},
    };

    const SIZES: [(usize, usize, usize); 18] = [
        (1, 1, 1),
        (1, 3, 2),
        (2, 1, 7),
        (3, 10, 5),
        (7, 17, 3),
        (12, 32, 16),
        (13, 33, 17),
        (17, 65, 33),
        (24, 15, 64),
        (33, 31, 65),
        (5, 16, 300),
        (130, 130, 130),
        (144, 144, 64),
        (65, 48, 257),
        (145, 7, 513),
        (3, 600, 9),
        (11, 2, 0),
        (301, 40, 12),
    ];

    fn reference(m: usize, n: usize, k: usize, a: Mat, b: Mat, start: impl Fn(usize, usize) -> f32) -> Vec<f64> {
        let at = |m: Mat, i: usize, j: usize| f64::from(m.data[i * m.row_stride + j * m.col_stride]);
        let element = |i, j| f64::from(start(i, j)) + (0..k).map(|p| at(a, i, p) * at(b, p, j)).sum::<f64>();
        (0..m * n).map(|ij| element(ij / n, ij % n)).collect()
    }

    /// Both layouts of a noisy matrix, padded by `pad` between rows or columns.
    fn layouts(data: &[f32], rows: usize, cols: usize, pad: usize) -> [Mat<'_>; 2] {
        [Mat::rows(data, cols + pad), Mat::transposed(data, rows + pad)]
    }

    #[test]
    fn every_layout_and_size() {
        on_each_isa(|isa| {
            for (m, n, k) in SIZES {
                let (ad, bd) = (noise(1, (m + 3) * (k + 3)), noise(2, (n + 3) * (k + 3)));
                let ldc = n + 5;
                let initial = noise(3, m * ldc);
                for a in layouts(&ad, m, k, 3) {
                    for b in layouts(&bd, k, n, 2) {
                        for accumulate in [false, true] {
                            let what = format!("{isa:?} {m}x{n}x{k} {accumulate}");
                            let mut c = initial.clone();
                            let mut scratch = vec![f32::NAN; scratch_len(m, n, k)];
                            gemm(m, n, k, a, b, &mut c, ldc, accumulate, &mut scratch);
                            let expected =
                                reference(m, n, k, a, b, |i, j| if accumulate { initial[i * ldc + j] } else { 0.0 });
                            check(m, n, ldc, &c, &initial, &expected, &what);

                            let mut packed = vec![f32::NAN; packed_len(k, n)];
                            pack_b(k, n, b, &mut packed);
                            let mut same = initial.clone();
                            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
                            gemm_packed(m, n, k, a, &packed, &mut same, ldc, &epilogue);
                            assert_eq!(c, same, "packed, {what}");
                        }
                    }
                }
            }
        });
    }

    #[track_caller]
    fn check(m: usize, n: usize, ldc: usize, c: &[f32], initial: &[f32], expected: &[f64], what: &str) {
        for i in 0..m {
            assert_close(&c[i * ldc..i * ldc + n], &expected[i * n..(i + 1) * n], 1e-5, what);
            assert_eq!(c[i * ldc + n..(i + 1) * ldc], initial[i * ldc + n..(i + 1) * ldc], "padding, {what}");
        }
    }

    #[test]
    fn bias_and_residual() {
        on_each_isa(|isa| {
            for (m, n, k) in SIZES {
                let (ad, bd, bias) = (noise(1, m * k), noise(2, n * k), noise(3, n));
                let (a, b) = (Mat::rows(&ad, k), Mat::rows(&bd, n));
                let ld = n + 1;
                let residual = noise(4, m * ld);
                let mut packed = vec![0.0; packed_len(k, n)];
                pack_b(k, n, b, &mut packed);
                for with_residual in [false, true] {
                    let mut c = vec![7.0; m * n];
                    let epilogue = Epilogue {
                        bias: Some(&bias),
                        residual: with_residual.then_some((&residual[..], ld)),
                        ..Epilogue::default()
                    };
                    gemm_packed(m, n, k, a, &packed, &mut c, n, &epilogue);
                    let expected = reference(m, n, k, a, b, |i, j| {
                        bias[j] + if with_residual { residual[i * ld + j] } else { 0.0 }
                    });
                    assert_close(&c, &expected, 1e-5, &format!("{isa:?} {m}x{n}x{k}"));
                }
            }
        });
    }

    #[test]
    fn rows_do_not_depend_on_tiling_nor_on_the_vector_width() {
        let (m, n, k) = (37, 70, 600);
        let (ad, bd) = (noise(1, m * k), noise(2, n * k));
        let mut first: Option<Vec<f32>> = None;
        on_each_isa(|isa| {
            let run = |rows: usize| {
                let mut c = vec![0.0; m * n];
                for i in (0..m).step_by(rows) {
                    let rows = rows.min(m - i);
                    let mut scratch = vec![0.0; scratch_len(rows, n, k)];
                    let a = Mat::rows(&ad[i * k..], k);
                    gemm(rows, n, k, a, Mat::rows(&bd, n), &mut c[i * n..], n, false, &mut scratch);
                }
                c
            };
            let whole = run(m);
            for rows in [1, 5, 12, 13] {
                assert_eq!(whole, run(rows), "{isa:?} {rows}");
            }
            if isa > Isa::Portable {
                assert_eq!(first.get_or_insert(whole.clone()), &whole, "{isa:?}");
            }
        });
    }
}
