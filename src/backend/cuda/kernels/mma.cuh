// Products by tensor cores on rows of heads in shared memory: what the kernels of attention share.
// Definitions: ACT the activations' type; PARTS; KEY_DIM, VALUE_DIM; VECTOR elements moved at once,
// 16 bytes or one element; WARPS of a block.
//
// An operand is the sum of PARTS bfloat16 matrices, each the rounding of what the ones before left: one
// part holds a bfloat16, two are closer to a float than tf32 is (2^-17 against 2^-11), three hold a float.
// Of the products of parts those are done that matter: 1, 3 or 6. Parts lie one behind the other.
//
// Matrices of a head are filled up by zeros to multiples of 16. In a warp, g = lane / 4 and t = lane % 4
// say which elements a lane holds.
#pragma once
#include "common.cuh"

constexpr int THREADS = 32 * WARPS;
constexpr int KEYS = (KEY_DIM + 15) / 16 * 16, VALUES = (VALUE_DIM + 15) / 16 * 16;
// Rows in shared memory lie so that eight of them, read together, touch all banks once.
constexpr int KEY_PITCH = KEYS + 8, VALUE_PITCH = VALUES + 8;
constexpr int WIDER_PITCH = KEY_PITCH > VALUE_PITCH ? KEY_PITCH : VALUE_PITCH;
// Left operands stay in registers if there is room, else they are read again for each product.
constexpr bool HELD = PARTS == 1 && KEYS + VALUES <= 128;
constexpr float SCALE_LOG2 = SCALE * 1.44269504f;

// Two floats as pairs of parts.
__device__ __forceinline__ void split(u32 (&parts)[PARTS], float low, float high) {
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
        parts[p] = pack_bf16(low, high);
        low -= __uint_as_float(parts[p] << 16);
        high -= __uint_as_float(parts[p] & 0xFFFF0000u);
    }
}

// VECTOR elements from `source`, or zeros, to the parts at `target`, which are `plane` apart.
__device__ __forceinline__ void load_parts(bf16* target, int plane, const ACT* __restrict__ source, bool there) {
    if constexpr (VECTOR == 8) {
        copy_async(target, source, there);
    } else {
        float values[VECTOR];
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = 0;
        if (there) load_vector<VECTOR>(source, values);
        if constexpr (VECTOR == 4) {
            u32 low[PARTS], high[PARTS];
            split(low, values[0], values[1]);
            split(high, values[2], values[3]);
#pragma unroll
            for (int p = 0; p < PARTS; p++) {
                u32* pairs = reinterpret_cast<u32*>(target + p * plane);
                pairs[0] = low[p];
                pairs[1] = high[p];
            }
        } else {
            u32 parts[PARTS];
            split(parts, values[0], 0);
#pragma unroll
            for (int p = 0; p < PARTS; p++) target[p * plane].bits = (u16)parts[p];
        }
    }
}

// COUNT rows from `first` on, of a head that is DIM wide, with zeros from row `limit` and column DIM. They are
// there after `loads_done` and a barrier.
template <int COUNT, int DIM, int PADDED>
__device__ __forceinline__ void load_rows(bf16* to, const ACT* __restrict__ from, u64 row, int first, int limit) {
    constexpr int PITCH = PADDED + 8, COLUMNS = PADDED / VECTOR, ALL = COUNT * COLUMNS;
    constexpr int PASSES = (ALL + THREADS - 1) / THREADS;
    bool all = DIM == PADDED && first + COUNT <= limit;
    auto move = [&](int r, int c) {
        bool there = all || (first + r < limit && c < DIM);
        load_parts(to + r * PITCH + c, COUNT * PITCH, from + (u64)(there ? first + r : 0) * row + (there ? c : 0), there);
    };
    if constexpr (THREADS % COLUMNS == 0 && VECTOR > 1 && PASSES <= 8) {
        // A thread stays in its column, so that all its addresses are so many rows apart.
        int r = (int)threadIdx.x / COLUMNS, c = (int)threadIdx.x % COLUMNS * VECTOR;
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
            int at = r + pass * (THREADS / COLUMNS);
            if (ALL % THREADS == 0 || at < COUNT) move(at, c);
        }
    } else {
#pragma unroll 4
        for (int i = threadIdx.x; i < ALL; i += THREADS) move(i / COLUMNS, i % COLUMNS * VECTOR);
    }
}

// A warp's 16 rows from `row` on to the tensor. `values` is what products leave in a warp; rows g and g + 8
// are multiplied by factors[0] and [1]. Narrow elements go by way of `part`, 16 rows of shared memory.
template <int DIM, int PADDED>
__device__ __forceinline__ void store_rows(bf16* part, const float (&values)[PADDED / 8][4], const float (&factors)[2],
                                           ACT* __restrict__ to, u64 to_row, int row, int limit) {
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    bool all = DIM == PADDED && row + 16 <= limit;
    if constexpr (sizeof(ACT) == 4) {
#pragma unroll
        for (int n = 0; n < PADDED / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int r = row + g + i / 2 * 8, c = 8 * n + 2 * t + i % 2;
                if (all || (r < limit && c < DIM)) store(to[(u64)r * to_row + c], values[n][i] * factors[i / 2]);
            }
        }
    } else {
        constexpr int PITCH = PADDED + 8, COLUMNS = PADDED / VECTOR;
        __syncwarp();
#pragma unroll
        for (int n = 0; n < PADDED / 8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++)
                *reinterpret_cast<u32*>(part + (g + 8 * i) * PITCH + 8 * n + 2 * t) =
                    pack_bf16(values[n][2 * i] * factors[i], values[n][2 * i + 1] * factors[i]);
        }
        __syncwarp();
        auto move = [&](int r, int c) {
            if (!all && (row + r >= limit || c >= DIM)) return;
            ACT* target = to + (u64)(row + r) * to_row + c;
            if constexpr (VECTOR == 8) {
                *reinterpret_cast<Words*>(target) = *reinterpret_cast<const Words*>(part + r * PITCH + c);
            } else {
                store(*target, load(part[r * PITCH + c]));
            }
        };
        if constexpr (32 % COLUMNS == 0) {
#pragma unroll
            for (int r = 0; r < 16; r += 32 / COLUMNS) move(r + lane / COLUMNS, lane % COLUMNS * VECTOR);
        } else {
#pragma unroll 2
            for (int i = lane; i < 16 * COLUMNS; i += 32) move(i / COLUMNS, i % COLUMNS * VECTOR);
        }
    }
}

// c += a b for two tiles of 8 columns, b as `load_matrices` gives it, the least parts first.
__device__ __forceinline__ void multiply_parts(float (&low)[4], float (&high)[4], const u32 (&a)[PARTS][4],
                                               const u32 (&b)[PARTS][4]) {
#pragma unroll
    for (int sum = PARTS - 1; sum >= 0; sum--) {
#pragma unroll
        for (int i = 0; i <= sum; i++) {
            mma_16x8x16(low, a[i], b[sum - i][0], b[sum - i][1]);
            mma_16x8x16(high, a[i], b[sum - i][2], b[sum - i][3]);
        }
    }
}

// The 16 columns from 16 k on of a warp's 16 rows, as a left operand; its parts are `plane` apart.
template <int PITCH> __device__ __forceinline__ void left(u32 (&a)[PARTS][4], const bf16* rows, int plane, int k) {
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int p = 0; p < PARTS; p++) load_matrices(a[p], rows + p * plane + lane % 16 * PITCH + 16 * k + lane / 16 * 8);
}

// All columns of a warp's 16 rows, if they are to stay in registers.
template <int WIDTH>
__device__ __forceinline__ void hold(u32 (&held)[WIDTH / 16][PARTS][4], const bf16* rows, int plane) {
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) left<WIDTH + 8>(held[k], rows, plane, k);
}

// The columns from 16 k on of 16 rows, as the right operand of a product with their transpose: of two tiles of 8 columns, rows 0 and 8 on.
template <int PITCH> __device__ __forceinline__ void right_transposed(u32 (&b)[PARTS][4], const bf16* rows, int plane, int k) {
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        load_matrices(b[p], rows + p * plane + (lane % 8 + lane / 16 * 8) * PITCH + 16 * k + lane / 8 % 2 * 8);
}

// The columns from 16 n on of 16 rows, as a right operand of two tiles of 8 columns.
template <int PITCH> __device__ __forceinline__ void right(u32 (&b)[PARTS][4], const bf16* rows, int plane, int n) {
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        load_matrices_transposed(b[p], rows + p * plane + lane % 16 * PITCH + 16 * n + lane / 16 * 8);
}

// c[n] += a warp's rows, held or in shared memory, times the transpose of `STEPS` groups of 16 rows.
template <int WIDTH, int STEPS, bool IN_REGISTERS>
__device__ __forceinline__ void times_transposed(float (&c)[2 * STEPS][4], const u32 (&held)[WIDTH / 16][PARTS][4],
                                                 const bf16* own, int own_plane, const bf16* other, int other_plane) {
    constexpr int PITCH = WIDTH + 8;
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) {
        u32 a[PARTS][4];
        if constexpr (IN_REGISTERS) {
#pragma unroll
            for (int p = 0; p < PARTS; p++) {
#pragma unroll
                for (int i = 0; i < 4; i++) a[p][i] = held[k][p][i];
            }
        } else {
            left<PITCH>(a, own, own_plane, k);
        }
#pragma unroll
        for (int n = 0; n < STEPS; n++) {
            u32 b[PARTS][4];
            right_transposed<PITCH>(b, other + 16 * n * PITCH, other_plane, k);
            multiply_parts(c[2 * n], c[2 * n + 1], a, b);
        }
    }
}

// sum += a left operand [16, 16] times 16 rows.
template <int WIDTH>
__device__ __forceinline__ void times_rows(float (&sum)[WIDTH / 8][4], const u32 (&a)[PARTS][4], const bf16* rows, int plane) {
#pragma unroll
    for (int n = 0; n < WIDTH / 16; n++) {
        u32 b[PARTS][4];
        right<WIDTH + 8>(b, rows, plane, n);
        multiply_parts(sum[2 * n], sum[2 * n + 1], a, b);
    }
}

// What two products left in a warp, [16, 16], as the left operand of another.
__device__ __forceinline__ void operand(u32 (&a)[PARTS][4], const float (&low)[4], const float (&high)[4]) {
    u32 parts[4][PARTS];
    split(parts[0], low[0], low[1]);
    split(parts[1], low[2], low[3]);
    split(parts[2], high[0], high[1]);
    split(parts[3], high[2], high[3]);
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
#pragma unroll
        for (int i = 0; i < 4; i++) a[p][i] = parts[i][p];
    }
}

// A left operand to rows of shared memory that are PITCH apart: `own` is where the lane's first pair goes.
template <int PITCH> __device__ __forceinline__ void put(bf16* own, int plane, const u32 (&a)[PARTS][4]) {
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
#pragma unroll
        for (int i = 0; i < 4; i++) *reinterpret_cast<u32*>(own + p * plane + i % 2 * 8 * PITCH + i / 2 * 8) = a[p][i];
    }
}

// What `put` has left, transposed, as a left operand; `own` is what the lane reads: `transposed_place` on from the first element.
__device__ __forceinline__ void left_transposed(u32 (&a)[PARTS][4], const bf16* own, int plane) {
#pragma unroll
    for (int p = 0; p < PARTS; p++) load_matrices_transposed(a[p], own + p * plane);
}

template <int PITCH> __device__ __forceinline__ int transposed_place(int lane) {
    return (lane % 8 + lane / 16 * 8) * PITCH + lane / 8 % 2 * 8;
}

// sum += p times 16 rows, where p [16, 16] is given as what two products left in the warp.
template <int WIDTH>
__device__ __forceinline__ void times(float (&sum)[WIDTH / 8][4], const float (&low)[4], const float (&high)[4],
                                      const bf16* rows, int plane) {
    u32 a[PARTS][4];
    operand(a, low, high);
    times_rows<WIDTH>(sum, a, rows, plane);
}

__device__ __forceinline__ float quad_sum(float value) {
    value += __shfl_xor_sync(0xFFFFFFFFu, value, 1);
    return value + __shfl_xor_sync(0xFFFFFFFFu, value, 2);
}

__device__ __forceinline__ float quad_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, 2));
}
