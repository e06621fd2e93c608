use std::arch::x86_64::*;

use super::{LANES, Vector};

/// One register of AVX-512 (F, BW, DQ, VL).
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1_u32 << count.min(LANES)) - 1) as __mmask16
}

// SAFETY: callers have AVX-512, and pointers that are valid for what is touched.
impl Vector for Avx512 {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has AVX-512, and a pointer to sixteen floats.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has AVX-512, and a pointer to sixteen floats.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller has AVX-512, and a pointer to sixteen floats that is aligned to 64 bytes.
        unsafe { _mm512_stream_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self {
        // SAFETY: the caller has AVX-512, and a pointer to `count` floats; masked lanes are not touched.
        unsafe { Self(_mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(count), from)) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller has AVX-512, and a pointer to `count` floats; masked lanes are not touched.
        unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, term.0)) }
    }

    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_max_ps(other.0, self.0)) }
    }

    #[inline(always)]
    unsafe fn fraction(self) -> Self {
        /// No bits after the point, rounded down, no exceptions.
        const FLOOR: i32 = 0b1001;
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_reduce_ps::<FLOOR>(self.0)) }
    }

    #[inline(always)]
    unsafe fn times_power_of_two(self, exponent: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(exponent.0, _mm512_set1_ps(-126.0));
            Self(_mm512_maskz_scalef_ps(above, self.0, exponent.0))
        }
    }

    #[inline(always)]
    unsafe fn zero_below(self, x: Self, bound: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x.0, bound.0), self.0)) }
    }

    #[inline(always)]
    unsafe fn keep(self, bits: u16) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_maskz_mov_ps(bits, self.0)) }
    }

    #[inline(always)]
    unsafe fn with_sign_of(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let sign = _mm512_set1_ps(-0.0);
            Self(_mm512_or_ps(_mm512_andnot_ps(sign, self.0), _mm512_and_ps(sign, other.0)))
        }
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_abs_ps(self.0)) }
    }

    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_div_ps(_mm512_set1_ps(1.0), self.0)) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let half = _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
            super::avx2::sum(half)
        }
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let half = _mm256_max_ps(_mm512_extractf32x8_ps::<1>(self.0), _mm512_castps512_ps256(self.0));
            super::avx2::largest(half)
        }
    }
}
