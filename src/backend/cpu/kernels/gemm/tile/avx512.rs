//! AVX-512: up to 12 rows of two vectors, 24 accumulators.

use std::arch::x86_64::*;

use super::{LINE_EVERY, Start, Tile};

/// Lanes of a vector.
const LANES: usize = 16;

/// Computes a tile.
///
/// # Safety
/// The processor has AVX-512; the operands are as long as [`super::run`] asserts.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
pub unsafe fn run(tile: &Tile, c: &mut [f32]) {
    // SAFETY: what the caller vouches for.
    unsafe {
        match (tile.cols > LANES, tile.a_row == 1) {
            (true, true) => rows::<2, true>(tile, c),
            (true, false) => rows::<2, false>(tile, c),
            (false, true) => rows::<1, true>(tile, c),
            (false, false) => rows::<1, false>(tile, c),
        }
    }
}

/// # Safety
/// As [`run`].
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn rows<const VECTORS: usize, const COLUMN: bool>(tile: &Tile, c: &mut [f32]) {
    // SAFETY: what the caller vouches for.
    unsafe {
        match tile.rows {
            12 => kernel::<12, VECTORS, COLUMN>(tile, c),
            11 => kernel::<11, VECTORS, COLUMN>(tile, c),
            10 => kernel::<10, VECTORS, COLUMN>(tile, c),
            9 => kernel::<9, VECTORS, COLUMN>(tile, c),
            8 => kernel::<8, VECTORS, COLUMN>(tile, c),
            7 => kernel::<7, VECTORS, COLUMN>(tile, c),
            6 => kernel::<6, VECTORS, COLUMN>(tile, c),
            5 => kernel::<5, VECTORS, COLUMN>(tile, c),
            4 => kernel::<4, VECTORS, COLUMN>(tile, c),
            3 => kernel::<3, VECTORS, COLUMN>(tile, c),
            2 => kernel::<2, VECTORS, COLUMN>(tile, c),
            _ => kernel::<1, VECTORS, COLUMN>(tile, c),
        }
    }
}

/// # Safety
/// As [`run`].
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn kernel<const ROWS: usize, const VECTORS: usize, const COLUMN: bool>(tile: &Tile, c: &mut [f32]) {
    // SAFETY: rows and columns of all operands are in bounds; columns beyond the tile are masked out.
    unsafe {
        // First of all: a call would have to save the accumulators.
        let (mut line, stride) = tile.ahead();
        let mut masks = [0; VECTORS];
        for (v, mask) in masks.iter_mut().enumerate() {
            let cols = tile.cols.saturating_sub(v * LANES).min(LANES);
            *mask = ((1_u32 << cols) - 1) as __mmask16;
        }
        let c = c.as_mut_ptr();
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        if let Some(bias) = tile.bias {
            for v in 0..VECTORS {
                let bias = _mm512_maskz_loadu_ps(masks[v], bias.as_ptr().wrapping_add(v * LANES));
                for sums in &mut sums {
                    sums[v] = bias;
                }
            }
        }
        let start = match tile.start {
            Start::Zero => None,
            Start::Output => Some((c.cast_const(), tile.ldc)),
            Start::From(start, ld) => Some((start.as_ptr(), ld)),
        };
        if let Some((start, ld)) = start {
            for v in 0..VECTORS {
                for i in 0..ROWS {
                    let start = _mm512_maskz_loadu_ps(masks[v], start.wrapping_add(i * ld + v * LANES));
                    sums[i][v] = _mm512_add_ps(start, sums[i][v]);
                }
            }
        }

        // Four row pointers, each with two offsets that the addressing mode holds: twelve would not
        // fit into the general registers.
        let a_row = if COLUMN { 1 } else { tile.a_row };
        let a_k = tile.a_k;
        let first = tile.a.as_ptr();
        let mut a =
            [first, first.wrapping_add(3 * a_row), first.wrapping_add(6 * a_row), first.wrapping_add(9 * a_row)];
        let mut b = tile.b.as_ptr();
        // A macro: a closure would be compiled for the baseline instruction set.
        macro_rules! step {
            () => {{
                let mut columns = [_mm512_setzero_ps(); VECTORS];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = _mm512_loadu_ps(b.add(v * LANES));
                }
                for i in 0..ROWS {
                    let a = _mm512_set1_ps(*a[i / 3].add(i % 3 * a_row));
                    for v in 0..VECTORS {
                        sums[i][v] = _mm512_fmadd_ps(a, columns[v], sums[i][v]);
                    }
                }
                b = b.wrapping_add(tile.b_row);
                for a in &mut a {
                    *a = a.wrapping_add(a_k);
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
            for v in 0..VECTORS {
                let to = c.wrapping_add(i * tile.ldc + v * LANES);
                if masks[v] == __mmask16::MAX {
                    _mm512_storeu_ps(to, sums[i][v]);
                } else {
                    _mm512_mask_storeu_ps(to, masks[v], sums[i][v]);
                }
            }
        }
    }
}
