//! Transposes in squares of 16.

use std::arch::x86_64::*;

use super::avx2;

/// Side of a square.
const SIDE: usize = 16;

/// As [`super::transpose_2d`].
///
/// # Safety
/// AVX-512 is there; both matrices are in bounds.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn transpose(rows: usize, cols: usize, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
    let (full_rows, full_cols) = (rows / SIDE * SIDE, cols / SIDE * SIDE);
    // SAFETY: squares and what is left of them lie in both matrices.
    unsafe {
        for c in (0..full_cols).step_by(SIDE) {
            for r in (0..full_rows).step_by(SIDE) {
                square(src.add(r * src_ld + c), src_ld, dst.add(c * dst_ld + r), dst_ld);
            }
        }
        if full_cols < cols {
            let (src, dst) = (src.add(full_cols), dst.add(full_cols * dst_ld));
            avx2::transpose(full_rows, cols - full_cols, src, src_ld, dst, dst_ld);
        }
        if full_rows < rows {
            avx2::transpose(rows - full_rows, cols, src.add(full_rows * src_ld), src_ld, dst.add(full_rows), dst_ld);
        }
    }
}

/// Four columns at a time: rows `j`, `j + 4`, `j + 8` and `j + 12` are loaded into the four parts of one
/// register, after which the four registers need no exchange between parts.
///
/// # Safety
/// As [`transpose`], for 16 rows and columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn square(src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
    // SAFETY: what the caller vouches for.
    unsafe {
        for part in 0..SIDE / 4 {
            let src = src.add(4 * part);
            let mut rows = [_mm512_setzero_ps(); 4];
            for (j, row) in rows.iter_mut().enumerate() {
                *row = _mm512_castps128_ps512(_mm_loadu_ps(src.add(j * src_ld)));
                *row = _mm512_mask_broadcast_f32x4(*row, 0x00F0, _mm_loadu_ps(src.add((j + 4) * src_ld)));
                *row = _mm512_mask_broadcast_f32x4(*row, 0x0F00, _mm_loadu_ps(src.add((j + 8) * src_ld)));
                *row = _mm512_mask_broadcast_f32x4(*row, 0xF000, _mm_loadu_ps(src.add((j + 12) * src_ld)));
            }
            let (t0, t1) = (_mm512_unpacklo_ps(rows[0], rows[1]), _mm512_unpackhi_ps(rows[0], rows[1]));
            let (t2, t3) = (_mm512_unpacklo_ps(rows[2], rows[3]), _mm512_unpackhi_ps(rows[2], rows[3]));
            let dst = dst.add(4 * part * dst_ld);
            _mm512_storeu_ps(dst, _mm512_shuffle_ps::<0x44>(t0, t2));
            _mm512_storeu_ps(dst.add(dst_ld), _mm512_shuffle_ps::<0xEE>(t0, t2));
            _mm512_storeu_ps(dst.add(2 * dst_ld), _mm512_shuffle_ps::<0x44>(t1, t3));
            _mm512_storeu_ps(dst.add(3 * dst_ld), _mm512_shuffle_ps::<0xEE>(t1, t3));
        }
    }
}
