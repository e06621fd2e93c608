//! AVX2 with FMA: pieces of up to 6 rows of two vectors, 12 accumulators.

use std::arch::x86_64::*;

use super::{LINE_EVERY, Start, Tile};

/// Rows of a piece.
const PIECE: usize = 6;
/// Lanes of a vector.
const LANES: usize = 8;

/// Computes a tile.
///
/// # Safety
/// The processor has AVX2 and FMA; the operands are as long as [`super::run`] asserts.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run(tile: &Tile, c: &mut [f32]) {
    for j in (0..tile.cols).step_by(2 * LANES) {
        for i in (0..tile.rows).step_by(PIECE) {
            // SAFETY: what the caller vouches for.
            unsafe {
                match tile.rows - i {
                    1 => kernel::<1>(tile, i, j, c),
                    2 => kernel::<2>(tile, i, j, c),
                    3 => kernel::<3>(tile, i, j, c),
                    4 => kernel::<4>(tile, i, j, c),
                    5 => kernel::<5>(tile, i, j, c),
                    _ => kernel::<PIECE>(tile, i, j, c),
                }
            }
        }
    }
}

/// Rows from `i0` and columns from `j0` on.
///
/// # Safety
/// As [`run`].
#[target_feature(enable = "avx2,fma")]
unsafe fn kernel<const ROWS: usize>(tile: &Tile, i0: usize, j0: usize, c: &mut [f32]) {
    // SAFETY: rows and columns of all operands are in bounds; columns beyond the tile are masked out.
    unsafe {
        // Two pieces of columns, and of rows: the first asks for memory for all.
        let (mut line, stride) = if i0 == 0 && j0 == 0 { tile.ahead() } else { (tile.b.as_ptr().cast(), 0) };
        let cols = (tile.cols - j0).min(2 * LANES);
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let masks = [
            _mm256_cmpgt_epi32(_mm256_set1_epi32(cols as i32), lane),
            _mm256_cmpgt_epi32(_mm256_set1_epi32(cols as i32 - LANES as i32), lane),
        ];
        let c = c.as_mut_ptr().wrapping_add(i0 * tile.ldc + j0);
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        if let Some(bias) = tile.bias {
            for v in 0..2 {
                let bias = _mm256_maskload_ps(bias.as_ptr().wrapping_add(j0 + v * LANES), masks[v]);
                for sums in &mut sums {
                    sums[v] = bias;
                }
            }
        }
        let start = match tile.start {
            Start::Zero => None,
            Start::Output => Some((c.cast_const(), tile.ldc)),
            Start::From(start, ld) => Some((start.as_ptr().wrapping_add(i0 * ld + j0), ld)),
        };
        if let Some((start, ld)) = start {
            for v in 0..2 {
                for i in 0..ROWS {
                    let start = _mm256_maskload_ps(start.wrapping_add(i * ld + v * LANES), masks[v]);
                    sums[i][v] = _mm256_add_ps(start, sums[i][v]);
                }
            }
        }

        let a_row = tile.a_row;
        let first = tile.a.as_ptr().wrapping_add(i0 * a_row);
        let mut a = [first, first.wrapping_add(3 * a_row)];
        let mut b = tile.b.as_ptr().add(j0);
        // A macro: a closure would be compiled for the baseline instruction set.
        macro_rules! step {
            () => {{
                let columns = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(LANES))];
                for i in 0..ROWS {
                    let a = _mm256_set1_ps(*a[i / 3].add(i % 3 * a_row));
                    for v in 0..2 {
                        sums[i][v] = _mm256_fmadd_ps(a, columns[v], sums[i][v]);
                    }
                }
                b = b.wrapping_add(tile.b_row);
                for a in &mut a {
                    *a = a.wrapping_add(tile.a_k);
                }
            }};
        }
        for _ in 0..tile.k / LINE_EVERY {
            _mm_prefetch::<_MM_HINT_T1>(line);
            line = line.wrapping_add(stride);
            for _ in 0..LINE_EVERY {
                step!();
            }
        }
        for _ in 0..tile.k % LINE_EVERY {
            step!();
        }
        for i in 0..ROWS {
            let to = c.wrapping_add(i * tile.ldc);
            if cols == 2 * LANES {
                _mm256_storeu_ps(to, sums[i][0]);
                _mm256_storeu_ps(to.add(LANES), sums[i][1]);
            } else {
                // Masked stores are slow on some processors: only at the edge.
                for v in 0..2 {
                    _mm256_maskstore_ps(to.wrapping_add(v * LANES), masks[v], sums[i][v]);
                }
            }
        }
    }
}
