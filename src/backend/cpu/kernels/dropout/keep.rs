//! The bits of a dropout mask, many Philox blocks side by side.
//!
//! Words are kept in 64-bit lanes whose upper halves may hold anything: the multiplier reads the
//! lower halves only, and its product holds both halves that Philox wants.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::Mask;
use crate::{
    backend::cpu::kernels::isa::Isa,
    random::{MULTIPLIERS, ROUNDS, WEYL},
};

/// Shuffles the halves of 64-bit lanes: the upper half of a product becomes the lower one, on a port that
/// does not multiply.
#[cfg(target_arch = "x86_64")]
const SWAP: i32 = 0b1011_0001;

/// Elements of a group: what is computed together.
pub const GROUP: usize = 128;

/// The bits of `groups` groups from a block on: set where an element is kept.
pub fn bits(mask: &Mask, block: u64, groups: usize, out: &mut [u8]) {
    let out = &mut out[..groups * GROUP / 8];
    match Isa::current() {
        // SAFETY: the processor has AVX-512.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(mask, block, out) },
        // SAFETY: the processor has AVX2.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(mask, block, out) },
        _ => portable(mask, block, out),
    }
}

/// A byte for a block.
fn portable(mask: &Mask, block: u64, out: &mut [u8]) {
    for (index, byte) in out.iter_mut().enumerate() {
        let block = block.wrapping_add(index as u64);
        let words = mask.philox.block([block as u32, (block >> 32) as u32, mask.stream, mask.iteration]);
        *byte = 0;
        for (at, word) in words.into_iter().enumerate() {
            for (half, lane) in [word & 0xFFFF, word >> 16].into_iter().enumerate() {
                *byte |= u8::from(lane >= mask.threshold) << (2 * at + half);
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 (F, BW). `out` holds whole groups.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(mask: &Mask, block: u64, out: &mut [u8]) {
    const BLOCKS: usize = 8;
    const XOR: i32 = 0b1001_0110;
    const UPPER: __mmask16 = 0xAAAA;
    let threshold = _mm512_set1_epi16(mask.threshold as i16);
    let [m0, m1] = MULTIPLIERS;
    let multipliers = [_mm512_set1_epi64(i64::from(m0)), _mm512_set1_epi64(i64::from(m1))];
    let lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    let first_half = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    let second_half = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    for (group, out) in out.chunks_exact_mut(GROUP / 8).enumerate() {
        // Two vectors of blocks, so that one is busy while the other waits for its products.
        let start = block.wrapping_add((group * 2 * BLOCKS) as u64) as i64;
        let first = _mm512_add_epi64(_mm512_set1_epi64(start), lane);
        let mut c0 = [first, _mm512_add_epi64(first, _mm512_set1_epi64(BLOCKS as i64))];
        let mut c1 = [_mm512_srli_epi64::<32>(c0[0]), _mm512_srli_epi64::<32>(c0[1])];
        let mut c2 = [_mm512_set1_epi64(i64::from(mask.stream)); 2];
        let mut c3 = [_mm512_set1_epi64(i64::from(mask.iteration)); 2];
        let [mut k0, mut k1] = mask.philox.key;
        for _ in 0..ROUNDS {
            let keys = [_mm512_set1_epi64(i64::from(k0)), _mm512_set1_epi64(i64::from(k1))];
            for half in 0..2 {
                let p0 = _mm512_mul_epu32(c0[half], multipliers[0]);
                let p1 = _mm512_mul_epu32(c2[half], multipliers[1]);
                let high = [_mm512_shuffle_epi32::<SWAP>(p0), _mm512_shuffle_epi32::<SWAP>(p1)];
                c0[half] = _mm512_ternarylogic_epi64::<XOR>(high[1], c1[half], keys[0]);
                c2[half] = _mm512_ternarylogic_epi64::<XOR>(high[0], c3[half], keys[1]);
                c1[half] = p1;
                c3[half] = p0;
            }
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        for (half, out) in out.chunks_exact_mut(8).enumerate() {
            // By a shuffle: a shift would be taken for a product by a larger multiplier, of all 64 bits.
            let low = _mm512_mask_shuffle_epi32::<SWAP>(c0[half], UPPER, c1[half]);
            let high = _mm512_mask_shuffle_epi32::<SWAP>(c2[half], UPPER, c3[half]);
            let first = _mm512_permutex2var_epi64(low, first_half, high);
            let second = _mm512_permutex2var_epi64(low, second_half, high);
            let first = u64::from(_mm512_cmpge_epu16_mask(first, threshold));
            let second = u64::from(_mm512_cmpge_epu16_mask(second, threshold));
            out.copy_from_slice(&(first | second << 32).to_le_bytes());
        }
    }
}

/// # Safety
/// The processor has AVX2. `out` holds whole groups.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(mask: &Mask, block: u64, out: &mut [u8]) {
    const BLOCKS: usize = 4;
    let low_words = _mm256_set1_epi64x(0xFFFF_FFFF);
    let threshold = _mm256_set1_epi16(mask.threshold as i16);
    let [m0, m1] = MULTIPLIERS;
    let multipliers = [_mm256_set1_epi64x(i64::from(m0)), _mm256_set1_epi64x(i64::from(m1))];
    let lane = _mm256_setr_epi64x(0, 1, 2, 3);
    for (part, out) in out.chunks_exact_mut(2 * BLOCKS).enumerate() {
        let start = block.wrapping_add((part * 2 * BLOCKS) as u64) as i64;
        let first = _mm256_add_epi64(_mm256_set1_epi64x(start), lane);
        let mut c0 = [first, _mm256_add_epi64(first, _mm256_set1_epi64x(BLOCKS as i64))];
        let mut c1 = [_mm256_srli_epi64::<32>(c0[0]), _mm256_srli_epi64::<32>(c0[1])];
        let mut c2 = [_mm256_set1_epi64x(i64::from(mask.stream)); 2];
        let mut c3 = [_mm256_set1_epi64x(i64::from(mask.iteration)); 2];
        let [mut k0, mut k1] = mask.philox.key;
        for _ in 0..ROUNDS {
            let keys = [_mm256_set1_epi64x(i64::from(k0)), _mm256_set1_epi64x(i64::from(k1))];
            for half in 0..2 {
                let p0 = _mm256_mul_epu32(c0[half], multipliers[0]);
                let p1 = _mm256_mul_epu32(c2[half], multipliers[1]);
                let high = [_mm256_shuffle_epi32::<SWAP>(p0), _mm256_shuffle_epi32::<SWAP>(p1)];
                c0[half] = _mm256_xor_si256(_mm256_xor_si256(high[1], c1[half]), keys[0]);
                c2[half] = _mm256_xor_si256(_mm256_xor_si256(high[0], c3[half]), keys[1]);
                c1[half] = p1;
                c3[half] = p0;
            }
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        for (half, out) in out.chunks_exact_mut(BLOCKS).enumerate() {
            let low = _mm256_or_si256(_mm256_and_si256(c0[half], low_words), _mm256_slli_epi64::<32>(c1[half]));
            let high = _mm256_or_si256(_mm256_and_si256(c2[half], low_words), _mm256_slli_epi64::<32>(c3[half]));
            // Blocks 0 and 2, then 1 and 3: packing puts them in order.
            let (even, odd) = (_mm256_unpacklo_epi64(low, high), _mm256_unpackhi_epi64(low, high));
            let even = _mm256_cmpeq_epi16(_mm256_max_epu16(even, threshold), even);
            let odd = _mm256_cmpeq_epi16(_mm256_max_epu16(odd, threshold), odd);
            out.copy_from_slice(&_mm256_movemask_epi8(_mm256_packs_epi16(even, odd)).to_le_bytes());
        }
    }
}
