//! Transposes and permutations.

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::isa::Isa;

/// `dst[c, r] = src[r, c]` for `r < rows`, `c < cols`; `src_ld` and `dst_ld` are the row strides.
pub fn transpose_2d(rows: usize, cols: usize, src: &[f32], src_ld: usize, dst: &mut [f32], dst_ld: usize) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(src_ld >= cols || rows == 1, "rows of the source overlap");
    assert!(dst_ld >= rows || cols == 1, "rows of the target overlap");
    assert!(src.len() >= (rows - 1) * src_ld + cols, "source too short");
    assert!(dst.len() >= (cols - 1) * dst_ld + rows, "target too short");
    match Isa::current() {
        // SAFETY: the processor has AVX-512, and the bounds were checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => return unsafe { avx512::transpose(rows, cols, src.as_ptr(), src_ld, dst.as_mut_ptr(), dst_ld) },
        // SAFETY: the processor has AVX2, and the bounds were checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => return unsafe { avx2::transpose(rows, cols, src.as_ptr(), src_ld, dst.as_mut_ptr(), dst_ld) },
        _ => {}
    }
    // Squares of 8 keep both sides within a few cache lines.
    for r0 in (0..rows).step_by(8) {
        for c0 in (0..cols).step_by(8) {
            for r in r0..rows.min(r0 + 8) {
                for c in c0..cols.min(c0 + 8) {
                    dst[c * dst_ld + r] = src[r * src_ld + c];
                }
            }
        }
    }
}

/// Rank of the largest tensor that [`permute`] takes.
pub const MAX_RANK: usize = 8;

/// Copies `src`, of shape `shape`, to `dst` with its axes reordered: axis `i` of `dst` is axis
/// `axes[i]` of `src`. Both contiguous.
pub fn permute(shape: &[usize], axes: &[usize], src: &[f32], dst: &mut [f32]) {
    let rank = shape.len();
    assert!(rank <= MAX_RANK && axes.len() == rank, "rank of shape and axes");
    let len: usize = shape.iter().product();
    assert!(src.len() == len && dst.len() == len, "lengths of source and target");
    if len == 0 {
        return;
    }
    // Merge axes that stay neighbours and drop those of size 1: most permutations then are a
    // transpose of two or three axes.
    let mut strides = [0; MAX_RANK];
    let mut stride = 1;
    for axis in (0..rank).rev() {
        strides[axis] = stride;
        stride *= shape[axis];
    }
    let (mut size, mut step, mut merged) = ([1; MAX_RANK], [0; MAX_RANK], 0);
    for &axis in axes {
        if shape[axis] == 1 {
            continue;
        }
        if merged > 0 && step[merged - 1] == strides[axis] * shape[axis] {
            size[merged - 1] *= shape[axis];
            step[merged - 1] = strides[axis];
        } else {
            size[merged] = shape[axis];
            step[merged] = strides[axis];
            merged += 1;
        }
    }
    copy_strided(&size[..merged], &step[..merged], src, dst);
}

/// `dst`, contiguous of shape `size`, from `src` with stride `step` along each axis.
fn copy_strided(size: &[usize], step: &[usize], src: &[f32], dst: &mut [f32]) {
    let Some((&last, &last_step)) = size.last().zip(step.last()) else {
        dst[0] = src[0];
        return;
    };
    if let ([size], [1]) = (size, step) {
        dst.copy_from_slice(&src[..*size]);
        return;
    }
    // An axis that is contiguous in the source, however far out, makes a 2-D transpose with the last.
    let outer = size.len() - 1;
    if last_step != 1
        && let Some(unit) = step.iter().position(|&s| s == 1)
        && outer == unit + 1
    {
        let inner = size[unit] * last;
        for_each_outer(&size[..unit], &step[..unit], inner, |from, to| {
            transpose_2d(last, size[unit], &src[from..], last_step, &mut dst[to..], last);
        });
        return;
    }
    if last_step != 1
        && let Some(unit) = step.iter().position(|&s| s == 1)
    {
        // dst [.., unit, mid.., last]: one 2-D transpose for each index of the axes in between.
        let between: usize = size[unit + 1..outer].iter().product();
        let dst_ld = between * last;
        for_each_outer(&size[..unit], &step[..unit], size[unit] * dst_ld, |from, to| {
            for_each_outer(&size[unit + 1..outer], &step[unit + 1..outer], last, |from_mid, to_mid| {
                let (src, dst) = (&src[from + from_mid..], &mut dst[to + to_mid..]);
                transpose_2d(last, size[unit], src, last_step, dst, dst_ld);
            });
        });
        return;
    }
    for_each_outer(&size[..outer], &step[..outer], last, |from, to| {
        if last_step == 1 {
            dst[to..to + last].copy_from_slice(&src[from..from + last]);
        } else {
            for (i, value) in dst[to..to + last].iter_mut().enumerate() {
                *value = src[from + i * last_step];
            }
        }
    });
}

/// Calls `visit(source offset, target offset)` for every index of the given axes, in order; the
/// target offset grows by `inner` each time.
fn for_each_outer(size: &[usize], step: &[usize], inner: usize, mut visit: impl FnMut(usize, usize)) {
    let mut index = [0; MAX_RANK];
    let (mut from, mut to) = (0, 0);
    loop {
        visit(from, to);
        to += inner;
        let mut axis = size.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            from += step[axis];
            if index[axis] < size[axis] {
                break;
            }
            from -= index[axis] * step[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    /// As [`super::transpose_2d`].
    ///
    /// # Safety
    /// AVX2 is there; both matrices are in bounds.
    #[target_feature(enable = "avx2")]
    pub unsafe fn transpose(rows: usize, cols: usize, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        let mut r = 0;
        while r + 8 <= rows {
            let mut c = 0;
            while c + 8 <= cols {
                // SAFETY: rows r..r+8 and columns c..c+8 are in bounds of both.
                unsafe { block_8x8(src.add(r * src_ld + c), src_ld, dst.add(c * dst_ld + r), dst_ld) };
                c += 8;
            }
            // SAFETY: as above.
            unsafe { scalar(8, cols - c, src.add(r * src_ld + c), src_ld, dst.add(c * dst_ld + r), dst_ld) };
            r += 8;
        }
        if r + 4 <= rows {
            let mut c = 0;
            while c + 8 <= cols {
                // SAFETY: rows r..r+4 and columns c..c+8 are in bounds of both.
                unsafe { block_4x8(src.add(r * src_ld + c), src_ld, dst.add(c * dst_ld + r), dst_ld) };
                c += 8;
            }
            // SAFETY: as above.
            unsafe { scalar(4, cols - c, src.add(r * src_ld + c), src_ld, dst.add(c * dst_ld + r), dst_ld) };
            r += 4;
        }
        // SAFETY: the rows that are left.
        unsafe { scalar(rows - r, cols, src.add(r * src_ld), src_ld, dst.add(r), dst_ld) };
    }

    #[inline(always)]
    unsafe fn scalar(rows: usize, cols: usize, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        for c in 0..cols {
            for r in 0..rows {
                // SAFETY: the caller vouches for both.
                unsafe { *dst.add(c * dst_ld + r) = *src.add(r * src_ld + c) };
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn block_8x8(src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        // SAFETY: the caller vouches for 8 rows of 8 on both sides.
        unsafe {
            // Loading halves of rows i and i+4 together spares the cross-lane shuffles.
            let pair = |i: usize, half: usize| {
                let low = _mm256_castps128_ps256(_mm_loadu_ps(src.add(i * src_ld + 4 * half)));
                _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(src.add((i + 4) * src_ld + 4 * half)))
            };
            for half in 0..2 {
                let (r0, r1, r2, r3) = (pair(0, half), pair(1, half), pair(2, half), pair(3, half));
                let (t0, t1) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                let (t2, t3) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                let out = dst.add(4 * half * dst_ld);
                _mm256_storeu_ps(out, _mm256_shuffle_ps::<0x44>(t0, t2));
                _mm256_storeu_ps(out.add(dst_ld), _mm256_shuffle_ps::<0xEE>(t0, t2));
                _mm256_storeu_ps(out.add(2 * dst_ld), _mm256_shuffle_ps::<0x44>(t1, t3));
                _mm256_storeu_ps(out.add(3 * dst_ld), _mm256_shuffle_ps::<0xEE>(t1, t3));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn block_4x8(src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        // SAFETY: the caller vouches for 4 rows of 8 in the source and 8 rows of 4 in the target.
        unsafe {
            let row = |i: usize| _mm256_loadu_ps(src.add(i * src_ld));
            let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
            let (t0, t1) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
            let (t2, t3) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
            let columns = [
                _mm256_shuffle_ps::<0x44>(t0, t2),
                _mm256_shuffle_ps::<0xEE>(t0, t2),
                _mm256_shuffle_ps::<0x44>(t1, t3),
                _mm256_shuffle_ps::<0xEE>(t1, t3),
            ];
            for (i, &column) in columns.iter().enumerate() {
                _mm_storeu_ps(dst.add(i * dst_ld), _mm256_castps256_ps128(column));
                _mm_storeu_ps(dst.add((i + 4) * dst_ld), _mm256_extractf128_ps::<1>(column));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    #[test]
    fn two_dimensions() {
        on_each_isa(|isa| {
            for rows in [1, 2, 3, 4, 7, 12, 17, 33] {
                for cols in [1, 2, 3, 8, 9, 65] {
                    let (src_ld, dst_ld) = (cols + 3, rows + 2);
                    let src = noise(1, rows * src_ld);
                    let mut dst = vec![9.0; cols * dst_ld];
                    transpose_2d(rows, cols, &src, src_ld, &mut dst, dst_ld);
                    for c in 0..cols {
                        for r in 0..dst_ld {
                            let expected = if r < rows { src[r * src_ld + c] } else { 9.0 };
                            assert_eq!(dst[c * dst_ld + r], expected, "{isa:?} {rows}x{cols} at {r},{c}");
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn permutations() {
        let shape = [3, 5, 1, 9, 10];
        let src = noise(2, shape.iter().product());
        let mut dst = vec![0.0; src.len()];
        for axes in [
            [0, 1, 2, 3, 4],
            [0, 3, 1, 2, 4],
            [4, 3, 2, 1, 0],
            [0, 1, 2, 4, 3],
            [1, 0, 4, 2, 3],
            [3, 4, 0, 1, 2],
            [4, 0, 3, 1, 2],
            [2, 4, 0, 1, 3],
        ] {
            permute(&shape, &axes, &src, &mut dst);
            for (i, &value) in dst.iter().enumerate() {
                let (mut rest, mut index) = (i, [0; 5]);
                for axis in axes.into_iter().rev() {
                    index[axis] = rest % shape[axis];
                    rest /= shape[axis];
                }
                let from = index.iter().zip(&shape).fold(0, |sum, (&x, &size)| sum * size + x);
                assert_eq!(value, src[from], "{axes:?} at {i}");
            }
        }
        permute(&[], &[], &[4.0], &mut dst[..1]);
        assert_eq!(dst[0], 4.0);
    }
}
