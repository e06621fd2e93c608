// Scaled dot-product attention by tensor cores, forward and backward, without the matrix of weights
// in memory: flash attention (Dao 2023) for bfloat16 heads up to 128 wide. Definitions: TOKENS,
// SOURCES, HEADS, KEY_DIM, VALUE_DIM, SCALE; WARPS of a block, of 16 rows each; TILE rows that pass
// through shared memory at a time; VECTOR elements moved at once, 8 or 1; DROPOUT.
//
// A block does the rows 16 WARPS blockIdx.x and on of head blockIdx.y of image blockIdx.z. Tensors are
// [batch, tokens or sources, row], heads side by side in a row. Matrices of a head are filled up by
// zeros to multiples of 16. In a warp, g = lane / 4 and t = lane % 4 say which elements a lane holds.
#include "common.cuh"

#ifndef DROPOUT
#define DROPOUT 0
#endif

constexpr int THREADS = 32 * WARPS;
constexpr int ROWS = 16 * WARPS;
constexpr int KEYS = (KEY_DIM + 15) / 16 * 16, VALUES = (VALUE_DIM + 15) / 16 * 16;
// Rows in shared memory lie so that eight of them, read together, touch all banks once.
constexpr int KEY_PITCH = KEYS + 8, VALUE_PITCH = VALUES + 8;
constexpr int WIDER_PITCH = KEY_PITCH > VALUE_PITCH ? KEY_PITCH : VALUE_PITCH;
// Left operands stay in registers if there is room, else they are read again for each product.
constexpr bool HELD = KEYS + VALUES <= 128;
constexpr float SCALE_LOG2 = SCALE * 1.44269504f;

// COUNT rows from `first` on, of a head that is DIM wide, with zeros from row `limit` and column DIM. Four
// loads are on their way at a time.
template <int COUNT, int DIM, int PADDED, int PITCH>
__device__ __forceinline__ void load_rows(bf16* to, const bf16* __restrict__ from, u64 row, int first, int limit) {
    constexpr int PARTS = PADDED / VECTOR, ALL = COUNT * PARTS, AHEAD = VECTOR == 8 ? 4 : 1;
#pragma unroll 1
    for (int start = threadIdx.x; start < ALL; start += AHEAD * THREADS) {
        Words words[AHEAD];
        bf16 values[AHEAD];
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            int i = start + j * THREADS, r = i / PARTS, c = i % PARTS * VECTOR;
            bool there = i < ALL && first + r < limit && c < DIM;
            const bf16* source = from + (u64)(first + r) * row + c;
            if constexpr (VECTOR == 8) {
                words[j] = Words{{0, 0, 0, 0}};
                if (there) words[j] = *reinterpret_cast<const Words*>(source);
            } else {
                values[j] = bf16{0};
                if (there) values[j] = *source;
            }
        }
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            int i = start + j * THREADS, r = i / PARTS, c = i % PARTS * VECTOR;
            if (i < ALL) {
                if constexpr (VECTOR == 8) {
                    *reinterpret_cast<Words*>(to + r * PITCH + c) = words[j];
                } else {
                    to[r * PITCH + c] = values[j];
                }
            }
        }
    }
}

// A warp's 16 rows from `row` on to the tensor, by way of its own part of shared memory. `values` is
// what products leave in a warp; rows g and g + 8 are multiplied by factors[0] and [1].
template <int DIM, int PADDED>
__device__ __forceinline__ void store_rows(bf16* part, const float (&values)[PADDED / 8][4], const float (&factors)[2],
                                           bf16* __restrict__ to, u64 to_row, int row, int limit) {
    constexpr int PITCH = PADDED + 8, PARTS = PADDED / VECTOR;
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    __syncwarp();
#pragma unroll
    for (int n = 0; n < PADDED / 8; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++)
            *reinterpret_cast<u32*>(part + (g + 8 * i) * PITCH + 8 * n + 2 * t) =
                pack_bf16(values[n][2 * i] * factors[i], values[n][2 * i + 1] * factors[i]);
    }
    __syncwarp();
    for (int i = lane; i < 16 * PARTS; i += 32) {
        int r = i / PARTS, c = i % PARTS * VECTOR;
        if (row + r < limit && c < DIM) {
            bf16* target = to + (u64)(row + r) * to_row + c;
            if constexpr (VECTOR == 8) {
                *reinterpret_cast<Words*>(target) = *reinterpret_cast<const Words*>(part + r * PITCH + c);
            } else {
                *target = part[r * PITCH + c];
            }
        }
    }
}

// The 16 columns from 16 k on of a warp's 16 rows, as a left operand.
template <int PITCH> __device__ __forceinline__ void left(u32 (&a)[4], const bf16* rows, int k) {
    int lane = (int)threadIdx.x % 32;
    load_matrices(a, rows + lane % 16 * PITCH + 16 * k + lane / 16 * 8);
}

// c[n] += a warp's rows times the transpose of `STEPS` groups of 16 rows.
template <int WIDTH, int STEPS>
__device__ __forceinline__ void times_transposed(float (&c)[2 * STEPS][4], const u32 (&held)[WIDTH / 16][4],
                                                 const bf16* own, const bf16* other) {
    constexpr int PITCH = WIDTH + 8;
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) {
        u32 a[4];
        if constexpr (HELD) {
#pragma unroll
            for (int i = 0; i < 4; i++) a[i] = held[k][i];
        } else {
            left<PITCH>(a, own, k);
        }
#pragma unroll
        for (int n = 0; n < STEPS; n++) {
            u32 b[4];
            load_matrices(b, other + (16 * n + lane % 8 + lane / 16 * 8) * PITCH + 16 * k + lane / 8 % 2 * 8);
            mma_16x8x16(c[2 * n], a, b[0], b[1]);
            mma_16x8x16(c[2 * n + 1], a, b[2], b[3]);
        }
    }
}

// sum += p times 16 rows, where p [16, 16] is given as what two products left in the warp.
template <int WIDTH>
__device__ __forceinline__ void times(float (&sum)[WIDTH / 8][4], const float (&low)[4], const float (&high)[4], const bf16* rows) {
    constexpr int PITCH = WIDTH + 8;
    int lane = (int)threadIdx.x % 32;
    u32 a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]), pack_bf16(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < WIDTH / 16; n++) {
        u32 b[4];
        load_matrices_transposed(b, rows + lane % 16 * PITCH + 16 * n + lane / 16 * 8);
        mma_16x8x16(sum[2 * n], a, b[0], b[1]);
        mma_16x8x16(sum[2 * n + 1], a, b[2], b[3]);
    }
}

// Which of the eight weights from (row, source) on stay, of the head whose first row is `head_row` of
// the tensor [batch, heads, tokens, sources].
__device__ __forceinline__ u32 kept(const Mask& mask, u64 head_row, int row, int source) {
    u64 first = (head_row + row) * SOURCES + source;
    if constexpr (SOURCES % 8 == 0) return mask.kept(first / 8);
    return mask.kept_from(first);
}

__device__ __forceinline__ float quad_sum(float value) {
    value += __shfl_xor_sync(0xFFFFFFFFu, value, 1);
    return value + __shfl_xor_sync(0xFFFFFFFFu, value, 2);
}

__device__ __forceinline__ float quad_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, 2));
}

// out = dropout(softmax(SCALE q k^T)) v; logsum is the base-2 logarithm of each row's sum of exponentials,
// [batch, heads, tokens].
KERNEL __launch_bounds__(32 * WARPS) forward(const bf16* __restrict__ q, u32 q_row, const bf16* __restrict__ k, u32 k_row,
                                             const bf16* __restrict__ v, u32 v_row, DROPOUT_PARAMETERS,
                                             bf16* __restrict__ out, u32 out_row, float* __restrict__ logsum) {
    DYNAMIC_SHARED(memory);
    bf16* own_q = reinterpret_cast<bf16*>(memory);
    bf16* tile_k = own_q + ROWS * WIDER_PITCH;
    bf16* tile_v = tile_k + TILE * KEY_PITCH;
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int first = (int)blockIdx.x * ROWS, row = first + 16 * warp;
    u64 head_row = ((u64)blockIdx.z * HEADS + blockIdx.y) * TOKENS;
    q += (u64)blockIdx.z * TOKENS * q_row + blockIdx.y * KEY_DIM;
    k += (u64)blockIdx.z * SOURCES * k_row + blockIdx.y * KEY_DIM;
    v += (u64)blockIdx.z * SOURCES * v_row + blockIdx.y * VALUE_DIM;
    out += (u64)blockIdx.z * TOKENS * out_row + blockIdx.y * VALUE_DIM;
#if DROPOUT
    Mask mask = DROPOUT_MASK;
#endif

    load_rows<ROWS, KEY_DIM, KEYS, KEY_PITCH>(own_q, q, q_row, first, TOKENS);
    __syncthreads();
    const bf16* warp_q = own_q + 16 * warp * KEY_PITCH;
    u32 held[KEYS / 16][4];
    if constexpr (HELD) {
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++) left<KEY_PITCH>(held[i], warp_q, i);
    }
    float sums[VALUES / 8][4] = {};
    float largest[2] = {NEGATIVE_INFINITY, NEGATIVE_INFINITY}, total[2] = {0, 0};
    for (int start = 0; start < SOURCES; start += TILE) {
        __syncthreads();
        load_rows<TILE, KEY_DIM, KEYS, KEY_PITCH>(tile_k, k, k_row, start, SOURCES);
        load_rows<TILE, VALUE_DIM, VALUES, VALUE_PITCH>(tile_v, v, v_row, start, SOURCES);
        __syncthreads();
        float c[TILE / 8][4] = {};
        times_transposed<KEYS, TILE / 16>(c, held, warp_q, tile_k);
        if constexpr (SOURCES % TILE != 0) {
#pragma unroll
            for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    if (start + 8 * n + 2 * t + i % 2 >= SOURCES) c[n][i] = NEGATIVE_INFINITY;
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float tile_largest = largest[i];
#pragma unroll
            for (int n = 0; n < TILE / 8; n++) tile_largest = fmaxf(tile_largest, fmaxf(c[n][2 * i], c[n][2 * i + 1]));
            tile_largest = quad_max(tile_largest);
            float factor = exp2_approximate((largest[i] - tile_largest) * SCALE_LOG2);
            largest[i] = tile_largest;
            total[i] *= factor;
#pragma unroll
            for (int n = 0; n < VALUES / 8; n++) {
                sums[n][2 * i] *= factor;
                sums[n][2 * i + 1] *= factor;
            }
            float offset = tile_largest * SCALE_LOG2;
#pragma unroll
            for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
                for (int j = 2 * i; j < 2 * i + 2; j++) {
                    c[n][j] = exp2_approximate(c[n][j] * SCALE_LOG2 - offset);
                    total[i] += c[n][j];
                }
            }
        }
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
#if DROPOUT
            // A lane draws for eight weights, of row lane % 16, and learns of its own from the others.
            u32 bits = kept(mask, head_row, row + lane % 16, start + 16 * n + lane / 16 * 8);
#pragma unroll
            for (int part = 0; part < 4; part++) {
                u32 byte = __shfl_sync(0xFFFFFFFFu, bits, part / 2 * 16 + part % 2 * 8 + g) >> (2 * t);
                float(&weights)[4] = c[2 * n + part / 2];
                weights[part % 2 * 2] = byte & 1 ? weights[part % 2 * 2] * keep_scale : 0.0f;
                weights[part % 2 * 2 + 1] = byte & 2 ? weights[part % 2 * 2 + 1] * keep_scale : 0.0f;
            }
#endif
            times<VALUES>(sums, c[2 * n], c[2 * n + 1], tile_v + 16 * n * VALUE_PITCH);
        }
    }
    float factors[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        total[i] = quad_sum(total[i]);
        factors[i] = 1.0f / total[i];
        int at = row + g + 8 * i;
        if (t == 0 && at < TOKENS) logsum[head_row + at] = largest[i] * SCALE_LOG2 + log2f(total[i]);
    }
    // Rows of q are as wide as the others at most; all warps have theirs in registers or are done.
    __syncthreads();
    store_rows<VALUE_DIM, VALUES>(own_q + 16 * warp * WIDER_PITCH, sums, factors, out, out_row, row, TOKENS);
}

// dq, and for the other kernel delta, the sums over each row of out dout, [batch, heads, tokens].
KERNEL __launch_bounds__(32 * WARPS)
    backward_q(const bf16* __restrict__ q, u32 q_row, const bf16* __restrict__ k, u32 k_row, const bf16* __restrict__ v,
               u32 v_row, DROPOUT_PARAMETERS, const bf16* __restrict__ out, const bf16* __restrict__ dout, u32 out_row,
               const float* __restrict__ logsum, float* __restrict__ delta, bf16* __restrict__ dq, u32 dq_row) {
    DYNAMIC_SHARED(memory);
    bf16* own_q = reinterpret_cast<bf16*>(memory);
    bf16* own_dout = own_q + ROWS * KEY_PITCH;
    bf16* tile_k = own_dout + ROWS * VALUE_PITCH;
    bf16* tile_v = tile_k + TILE * KEY_PITCH;
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int first = (int)blockIdx.x * ROWS, row = first + 16 * warp;
    u64 head_row = ((u64)blockIdx.z * HEADS + blockIdx.y) * TOKENS;
    q += (u64)blockIdx.z * TOKENS * q_row + blockIdx.y * KEY_DIM;
    dq += (u64)blockIdx.z * TOKENS * dq_row + blockIdx.y * KEY_DIM;
    k += (u64)blockIdx.z * SOURCES * k_row + blockIdx.y * KEY_DIM;
    v += (u64)blockIdx.z * SOURCES * v_row + blockIdx.y * VALUE_DIM;
    out += (u64)blockIdx.z * TOKENS * out_row + blockIdx.y * VALUE_DIM;
    dout += (u64)blockIdx.z * TOKENS * out_row + blockIdx.y * VALUE_DIM;
#if DROPOUT
    Mask mask = DROPOUT_MASK;
#endif

    load_rows<ROWS, KEY_DIM, KEYS, KEY_PITCH>(own_q, q, q_row, first, TOKENS);
    load_rows<ROWS, VALUE_DIM, VALUES, VALUE_PITCH>(own_dout, dout, out_row, first, TOKENS);
    __syncthreads();
    const bf16* warp_q = own_q + 16 * warp * KEY_PITCH;
    const bf16* warp_dout = own_dout + 16 * warp * VALUE_PITCH;
    u32 held_q[KEYS / 16][4], held_dout[VALUES / 16][4];
    if constexpr (HELD) {
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++) left<KEY_PITCH>(held_q[i], warp_q, i);
#pragma unroll
        for (int i = 0; i < VALUES / 16; i++) left<VALUE_PITCH>(held_dout[i], warp_dout, i);
    }
    // Two lanes for each row.
    float product = 0;
    if (row + lane / 2 < TOKENS) {
        for (int c = lane % 2 * VECTOR; c < VALUE_DIM; c += 2 * VECTOR) {
            float a[VECTOR], b[VECTOR];
            load_vector<VECTOR>(out + (u64)(row + lane / 2) * out_row + c, a);
            load_vector<VECTOR>(dout + (u64)(row + lane / 2) * out_row + c, b);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) product += a[i] * b[i];
        }
    }
    product += __shfl_xor_sync(0xFFFFFFFFu, product, 1);
    if (lane % 2 == 0 && row + lane / 2 < TOKENS) delta[head_row + row + lane / 2] = product;
    float row_delta[2], row_logsum[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int at = row + g + 8 * i;
        row_delta[i] = __shfl_sync(0xFFFFFFFFu, product, 2 * (g + 8 * i));
        // Rows that are not there have no weights.
        row_logsum[i] = at < TOKENS ? logsum[head_row + at] : -NEGATIVE_INFINITY;
    }
    float sums[KEYS / 8][4] = {};
    for (int start = 0; start < SOURCES; start += TILE) {
        __syncthreads();
        load_rows<TILE, KEY_DIM, KEYS, KEY_PITCH>(tile_k, k, k_row, start, SOURCES);
        load_rows<TILE, VALUE_DIM, VALUES, VALUE_PITCH>(tile_v, v, v_row, start, SOURCES);
        __syncthreads();
#pragma unroll 1
        for (int s = 0; s < TILE && start + s < SOURCES; s += 16) {
            float c[2][4] = {}, d[2][4] = {};
            times_transposed<KEYS, 1>(c, held_q, warp_q, tile_k + s * KEY_PITCH);
            times_transposed<VALUES, 1>(d, held_dout, warp_dout, tile_v + s * VALUE_PITCH);
#if DROPOUT
            u32 bits = kept(mask, head_row, row + lane % 16, start + s + lane / 16 * 8);
#pragma unroll
            for (int part = 0; part < 4; part++) {
                u32 byte = __shfl_sync(0xFFFFFFFFu, bits, part / 2 * 16 + part % 2 * 8 + g) >> (2 * t);
                float(&grads)[4] = d[part / 2];
                grads[part % 2 * 2] = byte & 1 ? grads[part % 2 * 2] * keep_scale : 0.0f;
                grads[part % 2 * 2 + 1] = byte & 2 ? grads[part % 2 * 2 + 1] * keep_scale : 0.0f;
            }
#endif
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float weight = exp2_approximate(c[n][i] * SCALE_LOG2 - row_logsum[i / 2]);
                    if (SOURCES % 16 != 0 && start + s + 8 * n + 2 * t + i % 2 >= SOURCES) weight = 0;
                    c[n][i] = weight * (d[n][i] - row_delta[i / 2]);
                }
            }
            times<KEYS>(sums, c[0], c[1], tile_k + s * KEY_PITCH);
        }
    }
    float factors[2] = {SCALE, SCALE};
    store_rows<KEY_DIM, KEYS>(own_q + 16 * warp * KEY_PITCH, sums, factors, dq, dq_row, row, TOKENS);
}

// dk and dv; rows are those of the sources here, and what passes through is q and dout.
KERNEL __launch_bounds__(32 * WARPS)
    backward_kv(const bf16* __restrict__ q, u32 q_row, const bf16* __restrict__ k, u32 k_row, const bf16* __restrict__ v,
                u32 v_row, DROPOUT_PARAMETERS, const bf16* __restrict__ dout, u32 out_row, const float* __restrict__ logsum,
                const float* __restrict__ delta, bf16* __restrict__ dk, u32 dk_row, bf16* __restrict__ dv, u32 dv_row) {
    DYNAMIC_SHARED(memory);
    bf16* own_k = reinterpret_cast<bf16*>(memory);
    bf16* own_v = own_k + ROWS * KEY_PITCH;
    bf16* tile_q = own_v + ROWS * VALUE_PITCH;
    bf16* tile_dout = tile_q + TILE * KEY_PITCH;
    float* tile_logsum = reinterpret_cast<float*>(tile_dout + TILE * VALUE_PITCH);
    float* tile_delta = tile_logsum + TILE;
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int first = (int)blockIdx.x * ROWS, row = first + 16 * warp;
    u64 head_row = ((u64)blockIdx.z * HEADS + blockIdx.y) * TOKENS;
    q += (u64)blockIdx.z * TOKENS * q_row + blockIdx.y * KEY_DIM;
    k += (u64)blockIdx.z * SOURCES * k_row + blockIdx.y * KEY_DIM;
    v += (u64)blockIdx.z * SOURCES * v_row + blockIdx.y * VALUE_DIM;
    dk += (u64)blockIdx.z * SOURCES * dk_row + blockIdx.y * KEY_DIM;
    dv += (u64)blockIdx.z * SOURCES * dv_row + blockIdx.y * VALUE_DIM;
    dout += (u64)blockIdx.z * TOKENS * out_row + blockIdx.y * VALUE_DIM;
#if DROPOUT
    Mask mask = DROPOUT_MASK;
#endif

    load_rows<ROWS, KEY_DIM, KEYS, KEY_PITCH>(own_k, k, k_row, first, SOURCES);
    load_rows<ROWS, VALUE_DIM, VALUES, VALUE_PITCH>(own_v, v, v_row, first, SOURCES);
    __syncthreads();
    bf16* warp_k = own_k + 16 * warp * KEY_PITCH;
    bf16* warp_v = own_v + 16 * warp * VALUE_PITCH;
    u32 held_k[KEYS / 16][4], held_v[VALUES / 16][4];
    if constexpr (HELD) {
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++) left<KEY_PITCH>(held_k[i], warp_k, i);
#pragma unroll
        for (int i = 0; i < VALUES / 16; i++) left<VALUE_PITCH>(held_v[i], warp_v, i);
    }
    float sums_k[KEYS / 8][4] = {}, sums_v[VALUES / 8][4] = {};
    for (int start = 0; start < TOKENS; start += TILE) {
        __syncthreads();
        load_rows<TILE, KEY_DIM, KEYS, KEY_PITCH>(tile_q, q, q_row, start, TOKENS);
        load_rows<TILE, VALUE_DIM, VALUES, VALUE_PITCH>(tile_dout, dout, out_row, start, TOKENS);
        for (int i = threadIdx.x; i < TILE; i += THREADS) {
            bool there = start + i < TOKENS;
            tile_logsum[i] = there ? logsum[head_row + start + i] : -NEGATIVE_INFINITY;
            tile_delta[i] = there ? delta[head_row + start + i] : 0;
        }
        __syncthreads();
#pragma unroll 1
        for (int s = 0; s < TILE && start + s < TOKENS; s += 16) {
            float c[2][4] = {}, d[2][4] = {};
            times_transposed<KEYS, 1>(c, held_k, warp_k, tile_q + s * KEY_PITCH);
            times_transposed<VALUES, 1>(d, held_v, warp_v, tile_dout + s * VALUE_PITCH);
#if DROPOUT
            // Here the eight weights of a draw lie down a column: those of query lane % 16.
            u32 bits = kept(mask, head_row, start + s + lane % 16, row + lane / 16 * 8);
#endif
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int query = 8 * n + 2 * t + i % 2;
                    float weight = exp2_approximate(c[n][i] * SCALE_LOG2 - tile_logsum[s + query]);
                    float dropped = weight, grad = d[n][i];
#if DROPOUT
                    bool stays = __shfl_sync(0xFFFFFFFFu, bits, i / 2 * 16 + query) >> g & 1;
                    dropped = stays ? weight * keep_scale : 0.0f;
                    grad = stays ? grad * keep_scale : 0.0f;
#endif
                    c[n][i] = weight * (grad - tile_delta[s + query]);
                    d[n][i] = dropped;
                }
            }
            times<VALUES>(sums_v, d[0], d[1], tile_dout + s * VALUE_PITCH);
            times<KEYS>(sums_k, c[0], c[1], tile_q + s * KEY_PITCH);
        }
    }
    float scales[2] = {SCALE, SCALE}, ones[2] = {1, 1};
    store_rows<KEY_DIM, KEYS>(warp_k, sums_k, scales, dk, dk_row, row, SOURCES);
    store_rows<VALUE_DIM, VALUES>(warp_v, sums_v, ones, dv, dv_row, row, SOURCES);
}
