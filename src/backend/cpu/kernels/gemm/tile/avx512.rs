//! AVX-512: up to 12 rows of two vectors, 24 accumulators.

use std::arch::x86_64::*;

use super::{Block, MR, NR, PAIR_EVERY, Start, along_k, count, opaque, stream};

/// Lanes of a vector.
const LANES: usize = 16;

/// Computes at most [`NR`] columns.
///
/// # Safety
/// The processor has AVX-512; the operands are as long as [`super::run`] asserts.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
pub unsafe fn run(column: &Block, c: &mut [f32], copy: &mut [f32]) {
    // SAFETY: what the caller vouches for.
    unsafe {
        match (column.cols > LANES, column.a_row == 1) {
            (true, true) => tiles::<2, true>(column, c, copy),
            (true, false) => tiles::<2, false>(column, c, copy),
            (false, true) => tiles::<1, true>(column, c, copy),
            (false, false) => tiles::<1, false>(column, c, copy),
        }
    }
}

/// # Safety
/// As [`run`].
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn tiles<const VECTORS: usize, const COLUMN: bool>(column: &Block, c: &mut [f32], copy: &mut [f32]) {
    let mut pairs = column.ahead(NR);
    let count = column.k / PAIR_EVERY;
    let full = column.rows / MR * MR;
    // SAFETY: what the caller vouches for.
    unsafe {
        for i in (0..full).step_by(MR) {
            kernel::<MR, VECTORS, COLUMN>(column, i, pairs.take(count), c, copy);
        }
        let pairs = pairs.take(count);
        match column.rows - full {
            11 => kernel::<11, VECTORS, COLUMN>(column, full, pairs, c, copy),
            10 => kernel::<10, VECTORS, COLUMN>(column, full, pairs, c, copy),
            9 => kernel::<9, VECTORS, COLUMN>(column, full, pairs, c, copy),
            8 => kernel::<8, VECTORS, COLUMN>(column, full, pairs, c, copy),
            7 => kernel::<7, VECTORS, COLUMN>(column, full, pairs, c, copy),
            6 => kernel::<6, VECTORS, COLUMN>(column, full, pairs, c, copy),
            5 => kernel::<5, VECTORS, COLUMN>(column, full, pairs, c, copy),
            4 => kernel::<4, VECTORS, COLUMN>(column, full, pairs, c, copy),
            3 => kernel::<3, VECTORS, COLUMN>(column, full, pairs, c, copy),
            2 => kernel::<2, VECTORS, COLUMN>(column, full, pairs, c, copy),
            1 => kernel::<1, VECTORS, COLUMN>(column, full, pairs, c, copy),
            _ => {}
        }
    }
}

/// The tile from row `i0` on.
///
/// # Safety
/// As [`run`].
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn kernel<const ROWS: usize, const VECTORS: usize, const COLUMN: bool>(
    column: &Block,
    i0: usize,
    pairs: (*const i8, usize),
    c: &mut [f32],
    copy: &mut [f32],
) {
    // SAFETY: rows and columns of all operands are in bounds; columns beyond the last are masked out.
    unsafe {
        let mut masks = [0; VECTORS];
        for (v, mask) in masks.iter_mut().enumerate() {
            let cols = column.cols.saturating_sub(v * LANES).min(LANES);
            *mask = ((1_u32 << cols) - 1) as __mmask16;
        }
        let ldc = column.ldc;
        let c = c.as_mut_ptr().wrapping_add(i0 * ldc);
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        if let Some(bias) = column.bias {
            for v in 0..VECTORS {
                let bias = _mm512_maskz_loadu_ps(masks[v], bias.as_ptr().wrapping_add(v * LANES));
                for sums in &mut sums {
                    sums[v] = bias;
                }
            }
        }
        let start = match column.start {
            Start::Zero => None,
            Start::Output => {
                // Those of the next tile will be wanted as soon as this one is done.
                count!(i < ROWS, {
                    _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add((ROWS + i) * ldc).cast_const().cast());
                    _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add((ROWS + i) * ldc + LANES).cast_const().cast());
                });
                Some((c.cast_const(), ldc))
            }
            Start::From(start, ld) => Some((start.as_ptr().wrapping_add(i0 * ld), ld)),
        };
        if let Some((start, ld)) = start {
            count!(v < VECTORS, {
                count!(i < ROWS, {
                    let start = _mm512_maskz_loadu_ps(masks[v], start.wrapping_add(i * ld + v * LANES));
                    sums[i][v] = _mm512_add_ps(start, sums[i][v]);
                });
            });
        }

        // Four row pointers, each with two offsets that the addressing mode holds: twelve would not
        // fit into the general registers.
        let a_row = if COLUMN { 1 } else { column.a_row };
        let (a_k, b_row) = (column.a_k, column.b.row);
        let first = column.a.as_ptr().wrapping_add(column.a_offset(i0));
        let mut a =
            [first, first.wrapping_add(3 * a_row), first.wrapping_add(6 * a_row), first.wrapping_add(9 * a_row)];
        let mut b = column.b.data.as_ptr();
        // A macro: a closure would be compiled for the baseline instruction set.
        macro_rules! step {
            () => {{
                let mut columns = [_mm512_setzero_ps(); VECTORS];
                count!(v < VECTORS, { columns[v] = _mm512_loadu_ps(b.wrapping_add(v * LANES)) });
                count!(i < ROWS, {
                    let a = _mm512_set1_ps(*a[i / 3].wrapping_add(i % 3 * a_row));
                    count!(v < VECTORS, { sums[i][v] = _mm512_fmadd_ps(a, columns[v], sums[i][v]) });
                });
                b = opaque(b.wrapping_add(b_row));
                count!(r < 4, { a[r] = opaque(a[r].wrapping_add(a_k)) });
            }};
        }
        along_k!(column, step, a, pairs);
        macro_rules! store {
            ($c:expr) => {
                count!(i < ROWS, {
                    count!(v < VECTORS, {
                        let to = $c.wrapping_add(i * ldc + v * LANES);
                        if masks[v] == __mmask16::MAX {
                            _mm512_storeu_ps(to, sums[i][v]);
                        } else {
                            _mm512_mask_storeu_ps(to, masks[v], sums[i][v]);
                        }
                    });
                });
            };
        }
        store!(c);
        if copy.is_empty() {
            return;
        }
        let streams = stream::aligned(copy) && ldc.is_multiple_of(LANES);
        let copy = copy.as_mut_ptr().wrapping_add(i0 * ldc);
        if streams && masks.iter().all(|mask| *mask == __mmask16::MAX) {
            for i in 0..ROWS {
                for v in 0..VECTORS {
                    _mm512_stream_ps(copy.wrapping_add(i * ldc + v * LANES), sums[i][v]);
                }
            }
        } else {
            store!(copy);
        }
    }
}
