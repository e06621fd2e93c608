// What every kernel may use: types, conversions, 16-byte vectors, reductions, Philox, and the few
// instructions that have no name in CUDA C++. It needs no header of the toolkit. Under the test
// emulator a header included before this one defines the names of the language and the instructions.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// A bfloat16 as its bits.
struct bf16 {
    u16 bits;
};

#define NEGATIVE_INFINITY __uint_as_float(0xFF800000u)

#ifndef VITX_EMULATOR
#define KERNEL extern "C" __global__ void
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) u8 name[]

// Two floats rounded to nearest even; `low` lies in the lower half, first in memory.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

__device__ __forceinline__ u16 to_bf16_bits(float value) {
    u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

// 2^x within 2 ulp; -infinity gives 0.
__device__ __forceinline__ float exp2_approximate(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 1 / x within 1 ulp.
__device__ __forceinline__ float reciprocal_approximate(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 1 / sqrt(x) within 2 ulp, of normal numbers.
__device__ __forceinline__ float reciprocal_sqrt_approximate(float x) {
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// d += a b for a [16, 16], b [16, 8] of bf16 and d [16, 8] of float. With g = lane / 4, t = lane % 4:
// a holds the pairs (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8); b the pairs down column g
// from rows 2t and 2t + 8; d the elements (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of 16-bit elements; lanes 8i to 8i + 7 give the addresses of the rows of matrix
// i. Each lane receives the pair (lane / 4, 2 (lane % 4)) of each matrix, or of its transpose.
__device__ __forceinline__ void load_matrices(u32 (&r)[4], const bf16* row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(u32 (&r)[4], const bf16* row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// 16 bytes on their way to shared memory, zeros if they are not wanted; the address must be good in any case.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool wanted) {
    u32 address = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(address), "l"(from), "r"(wanted ? 16 : 0) : "memory");
}

// The same number, of which the compiler does not know that: what follows from it is not worked out before a loop, where it would take
// registers all the time.
__device__ __forceinline__ int anew(int value) {
    asm volatile("" : "+r"(value));
    return value;
}

// Ends a group of copies, and waits for all groups but the last ALLOWED. Only this thread's own: a barrier tells the others.
__device__ __forceinline__ void loads_begun() { asm volatile("cp.async.commit_group;" : : : "memory"); }
template <int ALLOWED> __device__ __forceinline__ void loads_done() {
    asm volatile("cp.async.wait_group %0;" : : "n"(ALLOWED) : "memory");
}
#endif

__device__ __forceinline__ float load(const float& value) { return value; }
__device__ __forceinline__ float load(const bf16& value) { return __uint_as_float((u32)value.bits << 16); }
__device__ __forceinline__ void store(float& to, float value) { to = value; }
__device__ __forceinline__ void store(bf16& to, float value) { to.bits = to_bf16_bits(value); }

// What a value becomes by being stored.
template <typename T> __device__ __forceinline__ float rounded(float value) {
    T stored;
    store(stored, value);
    return load(stored);
}

// 1 / sqrt(x) as good as a division by `sqrtf`, which has two slow paths: a step of Newton's from the approximation.
__device__ __forceinline__ float reciprocal_sqrt(float x) {
    float y = reciprocal_sqrt_approximate(x);
    return y * (1.5f - 0.5f * x * y * y);
}

// The distribution function of the standard normal distribution, by erf of Abramowitz & Stegun 7.1.26: off by 7.5e-8. `erff`
// takes twice the instructions, and would bind kernels that wait for memory now. The exponential is the one that its
// derivative has, and is computed once for both.
__device__ __forceinline__ float normal_cdf(float x) {
    float t = reciprocal_approximate(1.0f + 0.3275911f * 0.70710678f * fabsf(x));
    float sum = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    float tail = 0.5f * sum * expf(x * x * -0.5f);
    return x < 0.0f ? tail : 1.0f - tail;
}

struct alignas(16) Words {
    u32 word[4];
};
struct alignas(8) Pair {
    u32 word[2];
};

// N consecutive elements as floats. Aligned to N elements when N > 1; whole words of 16 bytes, or all 8 or 4, are moved at
// once.
template <int N> __device__ __forceinline__ void load_vector(const float* from, float (&to)[N]) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            Words words = *reinterpret_cast<const Words*>(from + i);
#pragma unroll
            for (int j = 0; j < 4; j++) to[i + j] = __uint_as_float(words.word[j]);
        }
    } else if constexpr (N == 2) {
        Pair pair = *reinterpret_cast<const Pair*>(from);
        to[0] = __uint_as_float(pair.word[0]), to[1] = __uint_as_float(pair.word[1]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = from[i];
    }
}

__device__ __forceinline__ void unpack(u32 word, float& low, float& high) {
    low = __uint_as_float(word << 16);
    high = __uint_as_float(word & 0xFFFF0000u);
}

template <int N> __device__ __forceinline__ void load_vector(const bf16* from, float (&to)[N]) {
    if constexpr (N % 8 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 8) {
            Words words = *reinterpret_cast<const Words*>(from + i);
#pragma unroll
            for (int j = 0; j < 4; j++) unpack(words.word[j], to[i + 2 * j], to[i + 2 * j + 1]);
        }
    } else if constexpr (N == 4) {
        Pair pair = *reinterpret_cast<const Pair*>(from);
        unpack(pair.word[0], to[0], to[1]);
        unpack(pair.word[1], to[2], to[3]);
    } else if constexpr (N == 2) {
        unpack(*reinterpret_cast<const u32*>(from), to[0], to[1]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = load(from[i]);
    }
}

template <int N> __device__ __forceinline__ void store_vector(float* to, const float (&from)[N]) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            Words words;
#pragma unroll
            for (int j = 0; j < 4; j++) words.word[j] = __float_as_uint(from[i + j]);
            *reinterpret_cast<Words*>(to + i) = words;
        }
    } else if constexpr (N == 2) {
        *reinterpret_cast<Pair*>(to) = Pair{{__float_as_uint(from[0]), __float_as_uint(from[1])}};
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = from[i];
    }
}

template <int N> __device__ __forceinline__ void store_vector(bf16* to, const float (&from)[N]) {
    if constexpr (N % 8 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 8) {
            Words words;
#pragma unroll
            for (int j = 0; j < 4; j++) words.word[j] = pack_bf16(from[i + 2 * j], from[i + 2 * j + 1]);
            *reinterpret_cast<Words*>(to + i) = words;
        }
    } else if constexpr (N == 4) {
        *reinterpret_cast<Pair*>(to) = Pair{{pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3])}};
    } else if constexpr (N == 2) {
        *reinterpret_cast<u32*>(to) = pack_bf16(from[0], from[1]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) store(to[i], from[i]);
    }
}

// Sums and maxima of a warp, the same in every lane and in a fixed order.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
    return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
    return value;
}

__device__ __forceinline__ u32 warp_sum(u32 value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
    return value;
}

// What training steps pass on to one another in device memory.
struct StepState {
    u32 iteration;
    u32 epoch;
    u32 step;
    u32 position;
    // Of the optimizer, see `src/graph/optimizers/plan.rs`.
    float scalars[32];
};

#ifndef REPEATS
#define REPEATS 1
#endif

// The image at a place of an epoch, which has each REPEATS times in a row.
__device__ __forceinline__ u32 image_of(const u32* __restrict__ order, u32 place) { return order[place / REPEATS]; }

// What has been drawn for it: for each image of the data or, where they are repeated, for each place.
__device__ __forceinline__ u32 row_of(const u32* __restrict__ order, u32 place) {
    return REPEATS > 1 ? place : order[place];
}

struct Block {
    u32 word[4];
};

// Philox4x32-10 (Salmon et al. 2011), as `src/random.rs` has it.
__device__ __forceinline__ Block philox(u32 k0, u32 k1, u32 c0, u32 c1, u32 c2, u32 c3) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 p0 = (u64)0xD2511F53u * c0;
        u64 p1 = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c3 = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Block{{c0, c1, c2, c3}};
}

// One dropout layer in one iteration.
struct Mask {
    u32 k0, k1, stream, iteration, threshold;

    // Bit i tells that element 8 block + i stays.
    __device__ __forceinline__ u32 kept(u64 block) const {
        Block random = philox(k0, k1, (u32)block, (u32)(block >> 32), stream, iteration);
        u32 bits = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) bits |= (u32)(((random.word[i / 2] >> 16 * (i % 2)) & 0xFFFFu) >= threshold) << i;
        return bits;
    }

    // Bit i tells that element first + i stays, for eight elements from anywhere.
    __device__ __forceinline__ u32 kept_from(u64 first) const {
        u32 shift = (u32)first % 8;
        if (shift == 0) return kept(first / 8);
        return (kept(first / 8) | kept(first / 8 + 1) << 8) >> shift & 0xFFu;
    }
};

// Parameters of a dropout layer of a kernel, and the mask that they make.
#define DROPOUT_PARAMETERS const StepState *state, u32 key_low, u32 key_high, u32 stream, u32 threshold, float keep_scale
#define DROPOUT_MASK Mask{key_low, key_high, stream, state->iteration, threshold}
// With a bit for each element, if they are written down or have been.
#define DROPOUT_PARAMETERS_AND_BITS DROPOUT_PARAMETERS, u8 *kept_bytes

// DROPOUT of kernels that can: the bits are drawn; they are drawn and written down; they have been written down.
constexpr int DRAWN = 1, DRAWN_AND_WRITTEN = 2, WRITTEN = 3;

// Bit i tells that element first + i stays, of the rest of eight elements that begin at a multiple of eight. Only who has the
// first of the eight writes them down.
template <int HOW> __device__ __forceinline__ u32 kept_of(const Mask& mask, u8* bytes, u64 first) {
    u32 kept;
    if constexpr (HOW == WRITTEN) {
        kept = bytes[first / 8];
    } else {
        kept = mask.kept(first / 8);
        if (HOW == DRAWN_AND_WRITTEN && first % 8 == 0) bytes[first / 8] = (u8)kept;
    }
    return kept >> (first % 8);
}
