//! Products with a matrix that is kept in panels: `[n / NR][k][NR]`, as the micro-kernel reads it.
//!
//! With a row per image the products of a large matrix are done about as soon as it is read, so it is
//! read as it lies, once, and its next part is asked for meanwhile. Results have the same bits as those of
//! [`super::gemm`] with the matrix in rows.

use std::ops::Range;

use super::{ALIGNMENT, KC, MC, MR, Mat, NR, PADDED, ahead, cache_aligned, pack, tile};
use crate::backend::cpu::kernels::transpose::transpose_2d;
use tile::{Block, Panelled, Start};

/// Rows of A up to which [`Panels::transposed_product`] transposes parts of W: with so few, a micro-kernel that has them as
/// columns would leave most of its lanes empty.
const FEW_ROWS: usize = MR / 2;

/// The shape of a matrix in panels. Element `(i, j)` is `data[j / NR * k * NR + i * NR + j % NR]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panels {
    /// Rows.
    pub k: usize,
    /// Columns.
    pub n: usize,
}

impl Panels {
    /// Panels for a matrix `[k, n]` that take no more memory than its rows; `None` if there are none.
    #[must_use]
    pub fn new(k: usize, n: usize) -> Option<Self> {
        (k > 0 && n > 0 && n.is_multiple_of(NR)).then_some(Self { k, n })
    }

    /// The first element, row-major, of a run of [`NR`] in panels.
    #[must_use]
    pub fn first(self, run: usize) -> usize {
        run % self.k * self.n + run / self.k * NR
    }

    /// From row-major.
    pub fn pack(self, rows: &[f32], panels: &mut [f32]) {
        for (run, panel) in panels.chunks_exact_mut(NR).enumerate() {
            panel.copy_from_slice(&rows[self.first(run)..][..NR]);
        }
    }

    /// To row-major.
    pub fn unpack(self, panels: &[f32], rows: &mut [f32]) {
        for (run, panel) in panels.chunks_exact(NR).enumerate() {
            rows[self.first(run)..][..NR].copy_from_slice(panel);
        }
    }

    /// Some rows of the panel that begins with column `j`.
    fn rows<'a>(self, w: &'a [f32], rows: &Range<usize>, j: usize) -> &'a [f32] {
        &w[j * self.k + rows.start * NR..][..rows.len() * NR]
    }

    /// Length of [`Panels::product`]'s scratch.
    #[must_use]
    pub fn product_scratch_len(m: usize) -> usize {
        PADDED * m.min(MC) + ALIGNMENT
    }

    /// `C = A·W` for some columns of W, whole panels: `a` is `[m, k]`, `w` all of the matrix, `c` `[m, columns]`.
    ///
    /// # Panics
    /// When a slice does not have its length.
    pub fn product(self, m: usize, a: &[f32], w: &[f32], columns: Range<usize>, c: &mut [f32], scratch: &mut [f32]) {
        let Self { k, n } = self;
        let width = columns.len();
        assert!(columns.start.is_multiple_of(NR) && width.is_multiple_of(NR) && columns.end <= n, "whole panels");
        assert!(a.len() == m * k && w.len() == k * n && c.len() == m * width, "lengths of operands");
        let part = |k0: usize, j: usize| &w[(columns.start + j) * k + k0 * NR..][..KC.min(k - k0) * NR];
        let padded = cache_aligned(scratch);
        for k0 in (0..k).step_by(KC) {
            let depth = KC.min(k - k0);
            ahead::begin(0);
            if k0 + KC < k {
                ahead::announce_rows(a[k0 + KC..].as_ptr(), KC.min(k - k0 - KC), m, k);
                (0..width).step_by(NR).for_each(|j| ahead::announce_part(part(k0 + KC, j)));
            }
            for m0 in (0..m).step_by(MC) {
                let rows = MC.min(m - m0);
                pack::pad_a(rows, depth, Mat::rows(&a[m0 * k + k0..], k), padded, PADDED);
                let block = Block {
                    rows,
                    cols: width,
                    k: depth,
                    a: padded,
                    a_tile: MR * PADDED,
                    a_row: PADDED,
                    a_panel: NR,
                    a_k: 1,
                    b: Panelled::panels(&w[columns.start * k..], NR, k, k0),
                    ldc: width,
                    start: if k0 > 0 { Start::Output } else { Start::Zero },
                    bias: None,
                };
                tile::run(&block, &mut c[m0 * width..]);
            }
        }
    }

    /// Length of [`Panels::transposed_product`]'s scratch, for so many rows of W.
    #[must_use]
    pub fn transposed_product_scratch_len(self, m: usize, rows: usize) -> usize {
        let few = m <= FEW_ROWS;
        ALIGNMENT + if few { NR * rows.next_multiple_of(NR) } else { super::packed_len(self.n, m) + rows * m }
    }

    /// `C = A·Wᵀ` for some rows of W: `a` is `[m, n]`, `w` all of the matrix, `c` `[m, rows]`.
    ///
    /// It is computed as `W·Aᵀ`, so that W is the operand whose rows are read in place, unless A has few rows.
    ///
    /// # Panics
    /// When a slice does not have its length.
    pub fn transposed_product(
        self,
        m: usize,
        a: &[f32],
        w: &[f32],
        rows: Range<usize>,
        c: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Self { k, n } = self;
        let height = rows.len();
        assert!(rows.end <= k && a.len() == m * n && w.len() == k * n && c.len() == m * height, "lengths of operands");
        if c.is_empty() {
            return;
        }
        if m <= FEW_ROWS {
            return self.transposed_product_of_few_rows(m, a, w, rows, c, scratch);
        }
        let (packed, sums) = cache_aligned(scratch).split_at_mut(super::packed_len(n, m));
        super::pack_b(n, m, Mat::transposed(a, n), packed);
        for j0 in (0..n).step_by(KC) {
            let depth = KC.min(n - j0);
            ahead::begin(0);
            (j0 + depth..n.min(j0 + depth + KC)).step_by(NR).for_each(|j| ahead::announce_part(self.rows(w, &rows, j)));
            let block = Block {
                rows: height,
                cols: m,
                k: depth,
                a: &w[j0 * k + rows.start * NR..],
                a_tile: MR * NR,
                a_row: NR,
                a_panel: k * NR,
                a_k: 1,
                b: Panelled::packed(packed, n, j0),
                ldc: m,
                start: if j0 > 0 { Start::Output } else { Start::Zero },
                bias: None,
            };
            tile::run(&block, sums);
        }
        transpose_2d(height, m, sums, m, c, height);
    }

    fn transposed_product_of_few_rows(
        self,
        m: usize,
        a: &[f32],
        w: &[f32],
        rows: Range<usize>,
        c: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (n, height) = (self.n, rows.len());
        let stride = height.next_multiple_of(NR);
        let transposed = cache_aligned(scratch);
        for j in (0..n).step_by(NR) {
            ahead::begin(0);
            if j + NR < n {
                ahead::announce_part(self.rows(w, &rows, j + NR));
            }
            transpose_2d(height, NR, self.rows(w, &rows, j), NR, transposed, stride);
            let block = Block {
                rows: m,
                cols: height,
                k: NR,
                a: &a[j..],
                a_tile: MR * n,
                a_row: n,
                a_panel: NR,
                a_k: 1,
                b: Panelled::rows(transposed, stride),
                ldc: height,
                start: if j > 0 { Start::Output } else { Start::Zero },
                bias: None,
            };
            tile::run(&block, c);
        }
    }

    /// Length of [`Panels::gradient`]'s scratch.
    #[must_use]
    pub fn gradient_scratch_len(batch: usize, rows: usize) -> usize {
        batch.min(KC) * rows.next_multiple_of(MR)
    }

    /// Some rows, in panels, of `Aᵀ·B`: `a` is `[batch, k]`, `b` `[batch, n]` and packed.
    ///
    /// # Panics
    /// When a slice does not have its length.
    pub fn gradient(self, a: &[f32], rows: Range<usize>, b: &[f32], c: &mut [f32], scratch: &mut [f32]) {
        let Self { k, n } = self;
        let (batch, height) = (a.len() / k, rows.len());
        assert!(a.len() == batch * k && rows.end <= k && b.len() >= batch * n && c.len() == height * n, "lengths");
        for b0 in (0..batch).step_by(KC) {
            let depth = KC.min(batch - b0);
            pack::pack_a(height, depth, Mat::transposed(&a[b0 * k + rows.start..], k), scratch);
            for j in (0..n).step_by(NR) {
                let block = Block {
                    rows: height,
                    cols: NR,
                    k: depth,
                    a: scratch,
                    a_tile: MR * depth,
                    a_row: 1,
                    a_panel: NR * MR,
                    a_k: MR,
                    b: Panelled::packed(&b[j * batch..], batch, b0),
                    ldc: NR,
                    start: if b0 > 0 { Start::Output } else { Start::Zero },
                    bias: None,
                };
                tile::run(&block, &mut c[j * height..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{gemm, scratch_len},
        *,
    };
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    /// Rows of A, and the matrix.
    const SIZES: [(usize, usize, usize); 7] =
        [(1, 1, 32), (3, 40, 64), (12, 300, 96), (37, 257, 32), (64, 64, 128), (150, 530, 64), (300, 20, 32)];

    #[test]
    fn there_and_back() {
        let panels = Panels::new(5, 64).unwrap();
        let rows = noise(1, 5 * 64);
        let [mut packed, mut back] = [0; 2].map(|_| vec![0.0; rows.len()]);
        panels.pack(&rows, &mut packed);
        assert_eq!(packed[..NR], rows[..NR]);
        assert_eq!(packed[NR..2 * NR], rows[64..64 + NR]);
        assert_eq!(panels.first(1), 64);
        panels.unpack(&packed, &mut back);
        assert_eq!(back, rows);
        assert_eq!(Panels::new(5, 65), None);
        assert_eq!(Panels::new(0, 64), None);
    }

    #[test]
    fn products_are_those_of_rows() {
        on_each_isa(|isa| {
            for (m, k, n) in SIZES {
                let panels = Panels::new(k, n).unwrap();
                let (rows, a, b) = (noise(1, k * n), noise(2, m * k), noise(3, m * n));
                let mut w = vec![0.0; k * n];
                panels.pack(&rows, &mut w);

                let mut expected = vec![0.0; m * n];
                let mut scratch = vec![f32::NAN; scratch_len(m, n, k)];
                gemm(m, n, k, Mat::rows(&a, k), Mat::rows(&rows, n), &mut expected, n, false, &mut scratch);
                for columns in [0..n, n - NR..n] {
                    let mut c = vec![f32::NAN; m * columns.len()];
                    let mut scratch = vec![f32::NAN; Panels::product_scratch_len(m)];
                    panels.product(m, &a, &w, columns.clone(), &mut c, &mut scratch);
                    for (c, row) in c.chunks(columns.len()).zip(expected.chunks(n)) {
                        assert_eq!(c, &row[columns.clone()], "{isa:?} {m}x{k}x{n} {columns:?}");
                    }
                }

                let mut expected = vec![0.0; m * k];
                let mut scratch = vec![f32::NAN; scratch_len(m, k, n)];
                gemm(m, k, n, Mat::rows(&b, n), Mat::transposed(&rows, n), &mut expected, k, false, &mut scratch);
                for part in [0..k, k / 3..k, k / 2..k / 2] {
                    let mut c = vec![f32::NAN; m * part.len()];
                    let mut scratch = vec![f32::NAN; panels.transposed_product_scratch_len(m, part.len())];
                    panels.transposed_product(m, &b, &w, part.clone(), &mut c, &mut scratch);
                    for (row, expected) in expected.chunks(k).enumerate() {
                        let row = &c[row * part.len()..][..part.len()];
                        assert_eq!(row, &expected[part.clone()], "{isa:?} {m}x{k}x{n} {part:?}");
                    }
                }
            }
        });
    }
}
