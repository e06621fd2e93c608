//! AVX2 with FMA: pieces of up to 6 rows of two vectors, 12 accumulators.

use std::arch::x86_64::*;

use super::{Block, MR, PAIR_EVERY, Start, along_k, count, opaque, stream};

/// Rows of a piece.
const PIECE: usize = 6;
/// Lanes of a vector.
const LANES: usize = 8;
/// Columns of a piece.
const WIDTH: usize = 2 * LANES;

/// Computes a block.
///
/// # Safety
/// The processor has AVX2 and FMA; the operands are as long as [`super::run`] asserts.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run(block: &Block, c: &mut [f32], copy: &mut [f32]) {
    // SAFETY: what the caller vouches for.
    unsafe {
        if block.a_row == 1 {
            pieces::<true>(block, c, copy);
        } else {
            pieces::<false>(block, c, copy);
        }
    }
}

/// # Safety
/// As [`run`].
#[target_feature(enable = "avx2,fma")]
unsafe fn pieces<const COLUMN: bool>(block: &Block, c: &mut [f32], copy: &mut [f32]) {
    let mut pairs = block.ahead(WIDTH);
    for j in (0..block.cols).step_by(WIDTH) {
        let b = block.b.from(j).data.as_ptr();
        for i in (0..block.rows).step_by(PIECE) {
            // A tile is two pieces: one of them asks for memory for both.
            let count = if i % MR == 0 { block.k / PAIR_EVERY } else { 0 };
            let pairs = pairs.take(count);
            // SAFETY: what the caller vouches for.
            unsafe {
                match block.rows - i {
                    1 => kernel::<1, COLUMN>(block, i, j, b, pairs, c, copy),
                    2 => kernel::<2, COLUMN>(block, i, j, b, pairs, c, copy),
                    3 => kernel::<3, COLUMN>(block, i, j, b, pairs, c, copy),
                    4 => kernel::<4, COLUMN>(block, i, j, b, pairs, c, copy),
                    5 => kernel::<5, COLUMN>(block, i, j, b, pairs, c, copy),
                    _ => kernel::<PIECE, COLUMN>(block, i, j, b, pairs, c, copy),
                }
            }
        }
    }
}

/// Rows from `i0` and columns from `j0` on, which in B are those of `b`.
///
/// # Safety
/// As [`run`].
#[target_feature(enable = "avx2,fma")]
unsafe fn kernel<const ROWS: usize, const COLUMN: bool>(
    block: &Block,
    i0: usize,
    j0: usize,
    mut b: *const f32,
    pairs: (*const i8, usize),
    c: &mut [f32],
    copy: &mut [f32],
) {
    // SAFETY: rows and columns of all operands are in bounds; columns beyond the last are masked out.
    unsafe {
        let cols = (block.cols - j0).min(WIDTH);
        let whole = cols == WIDTH;
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let masks = [
            _mm256_cmpgt_epi32(_mm256_set1_epi32(cols as i32), lane),
            _mm256_cmpgt_epi32(_mm256_set1_epi32(cols as i32 - LANES as i32), lane),
        ];
        let ldc = block.ldc;
        let c = c.as_mut_ptr().wrapping_add(i0 * ldc + j0);
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        if let Some(bias) = block.bias {
            for v in 0..2 {
                let bias = _mm256_maskload_ps(bias.as_ptr().wrapping_add(j0 + v * LANES), masks[v]);
                for sums in &mut sums {
                    sums[v] = bias;
                }
            }
        }
        let start = match block.start {
            Start::Zero => None,
            Start::Output => {
                // Those of the next piece will be wanted as soon as this one is done.
                for i in 0..ROWS {
                    _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add((ROWS + i) * ldc).cast_const().cast());
                }
                Some((c.cast_const(), ldc))
            }
            Start::From(start, ld) => Some((start.as_ptr().wrapping_add(i0 * ld + j0), ld)),
        };
        if let Some((start, ld)) = start {
            count!(v < 2, {
                count!(i < ROWS, {
                    let start = start.wrapping_add(i * ld + v * LANES);
                    // Masked loads alone cost deep products, which come here for each block, 4%.
                    let start = if whole { _mm256_loadu_ps(start) } else { _mm256_maskload_ps(start, masks[v]) };
                    sums[i][v] = _mm256_add_ps(start, sums[i][v]);
                });
            });
        }

        // Two row pointers, each with two offsets that the addressing mode holds.
        let a_row = if COLUMN { 1 } else { block.a_row };
        let (a_k, b_row) = (block.a_k, block.b.row);
        let first = block.a.as_ptr().wrapping_add(block.a_offset(i0));
        let mut a = [first, first.wrapping_add(3 * a_row)];
        // A macro: a closure would be compiled for the baseline instruction set.
        macro_rules! step {
            () => {{
                let columns = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.wrapping_add(LANES))];
                count!(i < ROWS, {
                    let a = _mm256_set1_ps(*a[i / 3].wrapping_add(i % 3 * a_row));
                    count!(v < 2, { sums[i][v] = _mm256_fmadd_ps(a, columns[v], sums[i][v]) });
                });
                b = opaque(b.wrapping_add(b_row));
                count!(r < 2, { a[r] = opaque(a[r].wrapping_add(a_k)) });
            }};
        }
        along_k!(block, step, a, pairs);
        macro_rules! store {
            ($c:expr) => {
                count!(i < ROWS, {
                    let to = $c.wrapping_add(i * ldc);
                    if whole {
                        _mm256_storeu_ps(to, sums[i][0]);
                        _mm256_storeu_ps(to.wrapping_add(LANES), sums[i][1]);
                    } else {
                        // Masked stores are slow on some processors: only at the edge.
                        for v in 0..2 {
                            _mm256_maskstore_ps(to.wrapping_add(v * LANES), masks[v], sums[i][v]);
                        }
                    }
                });
            };
        }
        store!(c);
        if copy.is_empty() {
            return;
        }
        let streams = stream::aligned(copy) && ldc.is_multiple_of(WIDTH);
        let copy = copy.as_mut_ptr().wrapping_add(i0 * ldc + j0);
        if streams && whole {
            for i in 0..ROWS {
                let to = copy.wrapping_add(i * ldc);
                _mm256_stream_ps(to, sums[i][0]);
                _mm256_stream_ps(to.add(LANES), sums[i][1]);
            }
        } else {
            store!(copy);
        }
    }
}
