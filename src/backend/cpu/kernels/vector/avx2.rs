use std::arch::x86_64::*;

use super::Vector;

/// Two registers of AVX2, with FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

/// Lanes of a register.
const HALF: usize = 8;

/// Lanes 0, 1, 2, .. of which `count` are to be touched, as the sign bits that masked moves look at.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    // SAFETY: what the caller vouches for.
    unsafe {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lane)
    }
}

/// All ones in the lanes whose bit is set.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn spread(bits: u16) -> __m256 {
    // SAFETY: what the caller vouches for.
    unsafe {
        let bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let set = _mm256_and_si256(_mm256_set1_epi32(i32::from(bits)), bit);
        _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit))
    }
}

/// Lanes added by halves.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn sum(x: __m256) -> f32 {
    // SAFETY: what the caller vouches for.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

/// The largest lane.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn largest(x: __m256) -> f32 {
    // SAFETY: what the caller vouches for.
    unsafe {
        let four = _mm_max_ps(_mm256_extractf128_ps::<1>(x), _mm256_castps256_ps128(x));
        let two = _mm_max_ps(_mm_movehl_ps(four, four), four);
        _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(two), two))
    }
}

// SAFETY: callers have AVX2 and FMA, and pointers that are valid for what is touched.
impl Vector for Avx2 {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has AVX2 and FMA, and a pointer to sixteen floats.
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(HALF))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has AVX2 and FMA, and a pointer to sixteen floats.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(HALF), self.1);
        }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller has AVX2 and FMA, and a pointer to sixteen floats that is aligned to 64 bytes.
        unsafe {
            _mm256_stream_ps(to, self.0);
            _mm256_stream_ps(to.add(HALF), self.1);
        }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self {
        // SAFETY: the caller has AVX2 and FMA, and a pointer to `count` floats; masked lanes are not touched.
        unsafe {
            let load = |from: *const f32, count: usize| {
                let mask = first(count);
                let fill = _mm256_set1_ps(fill);
                _mm256_blendv_ps(fill, _mm256_maskload_ps(from, mask), _mm256_castsi256_ps(mask))
            };
            Self(load(from, count), load(from.wrapping_add(HALF), count.saturating_sub(HALF)))
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller has AVX2 and FMA, and a pointer to `count` floats; masked lanes are not touched.
        unsafe {
            _mm256_maskstore_ps(to, first(count), self.0);
            _mm256_maskstore_ps(to.wrapping_add(HALF), first(count.saturating_sub(HALF)), self.1);
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, term.0), _mm256_fmadd_ps(self.1, factor.1, term.1)) }
    }

    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { Self(_mm256_max_ps(other.0, self.0), _mm256_max_ps(other.1, self.1)) }
    }

    #[inline(always)]
    unsafe fn fraction(self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe {
            let fraction = |x| _mm256_sub_ps(x, _mm256_floor_ps(x));
            Self(fraction(self.0), fraction(self.1))
        }
    }

    #[inline(always)]
    unsafe fn times_power_of_two(self, exponent: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe {
            let times = |x, exponent| {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_floor_ps(exponent)), _mm256_set1_epi32(127));
                let product = _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)));
                let above = _mm256_cmp_ps::<_CMP_NLT_UQ>(exponent, _mm256_set1_ps(-126.0));
                _mm256_and_ps(product, above)
            };
            Self(times(self.0, exponent.0), times(self.1, exponent.1))
        }
    }

    #[inline(always)]
    unsafe fn zero_below(self, x: Self, bound: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe {
            let keep = |value, x, bound| _mm256_and_ps(value, _mm256_cmp_ps::<_CMP_NLT_UQ>(x, bound));
            Self(keep(self.0, x.0, bound.0), keep(self.1, x.1, bound.1))
        }
    }

    #[inline(always)]
    unsafe fn keep(self, bits: u16) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { Self(_mm256_and_ps(self.0, spread(bits)), _mm256_and_ps(self.1, spread(bits >> HALF))) }
    }

    #[inline(always)]
    unsafe fn with_sign_of(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            let join = |x, y| _mm256_or_ps(_mm256_andnot_ps(sign, x), _mm256_and_ps(sign, y));
            Self(join(self.0, other.0), join(self.1, other.1))
        }
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1))
        }
    }

    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe {
            let one = _mm256_set1_ps(1.0);
            Self(_mm256_div_ps(one, self.0), _mm256_div_ps(one, self.1))
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { sum(_mm256_add_ps(self.0, self.1)) }
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { largest(_mm256_max_ps(self.1, self.0)) }
    }
}
