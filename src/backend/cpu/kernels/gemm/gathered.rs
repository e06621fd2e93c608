//! Products of which the left operand is gathered piece by piece, as the patches of images are.

use std::ops::Range;

use super::{
    ALIGNMENT, Epilogue, KC, MC, MR, Mat, NC, NR, PADDED, cache_aligned, pack, packed_len,
    tile::{self, Block, Panelled, Start},
};

/// Rows of A that are gathered at once.
const STRIP: usize = 4 * MR;
/// Elements between the rows of a gathered piece whose columns become the rows of C.
const ACROSS: usize = MC + 16;

/// Length of [`product`]'s scratch.
pub const PRODUCT_SCRATCH: usize = STRIP * PADDED + ALIGNMENT;

/// `C = A·B` with A `[m, k]`, of which `gather(rows, columns, out, pitch)` writes a piece to rows that lie `pitch` apart,
/// and B `[k, n]` packed by [`super::pack_b`]. C has rows `ldc` apart. `scratch` holds [`PRODUCT_SCRATCH`] elements.
///
/// # Panics
/// When an operand is too short for its shape.
pub fn product(
    m: usize,
    n: usize,
    k: usize,
    gather: impl Fn(Range<usize>, Range<usize>, &mut [f32], usize),
    packed: &[f32],
    c: &mut [f32],
    ldc: usize,
    epilogue: &Epilogue,
    scratch: &mut [f32],
) {
    if m == 0 || n == 0 || k == 0 {
        assert!(m == 0 || n == 0, "a product without depth");
        return;
    }
    assert!(packed.len() >= packed_len(k, n), "packed B too short");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() >= n), "bias too short");
    let piece = &mut cache_aligned(scratch)[..STRIP * PADDED];
    for m0 in (0..m).step_by(STRIP) {
        let rows = STRIP.min(m - m0);
        for k0 in (0..k).step_by(KC) {
            let depth = KC.min(k - k0);
            gather(m0..m0 + rows, k0..k0 + depth, piece, PADDED);
            let block = Block {
                rows,
                cols: n,
                k: depth,
                a: piece,
                a_tile: MR * PADDED,
                a_row: PADDED,
                a_panel: NR,
                a_k: 1,
                b: Panelled::packed(packed, k, k0),
                ldc,
                start: match epilogue.residual {
                    _ if epilogue.accumulate || k0 > 0 => Start::Output,
                    Some((residual, ld)) => Start::From(&residual[m0 * ld..], ld),
                    None => Start::Zero,
                },
                bias: epilogue.bias.filter(|_| k0 == 0),
            };
            tile::run(&block, &mut c[m0 * ldc..]);
        }
    }
}

/// Length of [`transposed_product`]'s scratch.
pub fn transposed_product_scratch_len(n: usize) -> usize {
    KC * (n.min(NC).next_multiple_of(NR) + ACROSS) + ALIGNMENT
}

/// `C = Aᵀ·B`, or `C += Aᵀ·B` with `accumulate`, for the columns `part` of A `[k, ..]`, which is gathered as in
/// [`product`]: B is `[k, n]`, C `[part, n]` with rows `ldc` apart.
///
/// # Panics
/// When an operand is too short for its shape.
pub fn transposed_product(
    part: Range<usize>,
    n: usize,
    k: usize,
    gather: impl Fn(Range<usize>, Range<usize>, &mut [f32], usize),
    b: Mat,
    c: &mut [f32],
    ldc: usize,
    accumulate: bool,
    scratch: &mut [f32],
) {
    if part.is_empty() || n == 0 || k == 0 {
        return;
    }
    b.check(k, n, "B");
    let (packed, piece) = cache_aligned(scratch).split_at_mut(KC * n.min(NC).next_multiple_of(NR));
    for n0 in (0..n).step_by(NC) {
        let cols = NC.min(n - n0);
        for k0 in (0..k).step_by(KC) {
            let depth = KC.min(k - k0);
            pack::pack_b(depth, cols, b.from(k0, n0), packed);
            for m0 in part.clone().step_by(MC) {
                let rows = MC.min(part.end - m0);
                gather(k0..k0 + depth, m0..m0 + rows, piece, ACROSS);
                let block = Block {
                    rows,
                    cols,
                    k: depth,
                    a: piece,
                    a_tile: MR,
                    a_row: 1,
                    a_panel: NR * ACROSS,
                    a_k: ACROSS,
                    b: Panelled::packed(packed, depth, 0),
                    ldc,
                    start: if accumulate || k0 > 0 { Start::Output } else { Start::Zero },
                    bias: None,
                };
                tile::run(&block, &mut c[(m0 - part.start) * ldc + n0..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{gemm, pack_b, scratch_len},
        *,
    };
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    const SIZES: [(usize, usize, usize); 5] = [(1, 1, 1), (50, 33, 40), (13, 64, 300), (145, 7, 513), (49, 520, 9)];

    /// The same bits as those of the product of matrices that are there.
    #[test]
    fn products_are_those_of_whole_matrices() {
        on_each_isa(|isa| {
            for (m, n, k) in SIZES {
                let (a, b, residual) = (noise(1, m * k), noise(2, k * n), noise(3, m * n));
                let gather = |rows: Range<usize>, columns: Range<usize>, out: &mut [f32], pitch: usize| {
                    for (row, out) in rows.zip(out.chunks_mut(pitch)) {
                        out[..columns.len()].copy_from_slice(&a[row * k..][columns.clone()]);
                    }
                };
                let mut packed = vec![f32::NAN; packed_len(k, n)];
                pack_b(k, n, Mat::rows(&b, n), &mut packed);
                let mut scratch = vec![f32::NAN; PRODUCT_SCRATCH];
                let epilogue = Epilogue { residual: Some((&residual, n)), ..Epilogue::default() };
                let mut c = vec![f32::NAN; m * n];
                product(m, n, k, gather, &packed, &mut c, n, &epilogue, &mut scratch);
                let mut expected = residual.clone();
                let mut other = vec![f32::NAN; scratch_len(m, n, k)];
                gemm(m, n, k, Mat::rows(&a, k), Mat::rows(&b, n), &mut expected, n, true, &mut other);
                assert_eq!(c, expected, "{isa:?} {m}x{n}x{k}");

                // The transpose: k columns of A, m rows deep.
                let dy = noise(4, m * n);
                for part in [0..k, k / 3..k] {
                    let mut scratch = vec![f32::NAN; transposed_product_scratch_len(n)];
                    let mut c = noise(5, part.len() * n);
                    let mut expected = c.clone();
                    let b = Mat::rows(&dy, n);
                    transposed_product(part.clone(), n, m, gather, b, &mut c, n, true, &mut scratch);
                    let mut other = vec![f32::NAN; scratch_len(part.len(), n, m)];
                    let transposed = Mat::transposed(&a[part.start..], k);
                    gemm(part.len(), n, m, transposed, b, &mut expected, n, true, &mut other);
                    assert_eq!(c, expected, "{isa:?} {m}x{n}x{k} {part:?}");
                }
            }
        });
    }
}
