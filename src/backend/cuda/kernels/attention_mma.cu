// Scaled dot-product attention by tensor cores, forward and backward, without the matrix of weights
// in memory: flash attention (Dao 2023) for heads up to 128 wide and any number of tokens. Definitions: as of
// attention.cuh; TILE rows that pass through shared memory at a time.
//
// A block does the rows 16 WARPS blockIdx.x and on of head blockIdx.y of image blockIdx.z. Tensors are
// [batch, tokens or sources, row], heads side by side in a row.
#include "attention.cuh"

constexpr int ROWS = 16 * WARPS;
// From one part of an operand to the next.
constexpr int OWN_KEYS = ROWS * KEY_PITCH, OWN_VALUES = ROWS * VALUE_PITCH;
constexpr int TILE_KEYS = TILE * KEY_PITCH, TILE_VALUES = TILE * VALUE_PITCH;

template <int DIM, typename T> __device__ __forceinline__ T* head_rows(T* tensor, int rows, u32 row) {
    return tensor + (u64)blockIdx.z * rows * row + blockIdx.y * DIM;
}

// out = dropout(softmax(SCALE q k^T)) v; logsum is the base-2 logarithm of each row's sum of exponentials,
// [batch, heads, tokens].
KERNEL __launch_bounds__(32 * WARPS, 1)
    forward(const ACT* __restrict__ q, u32 q_row, const ACT* __restrict__ k, u32 k_row, const ACT* __restrict__ v, u32 v_row,
            const u16* __restrict__ kept, float keep_scale, ACT* __restrict__ out, u32 out_row, float* __restrict__ logsum) {
    DYNAMIC_SHARED(memory);
    bf16* own_q = reinterpret_cast<bf16*>(memory);
    bf16* tile_k = own_q + PARTS * ROWS * WIDER_PITCH;
    bf16* tile_v = tile_k + PARTS * TILE_KEYS;
    int warp = (int)threadIdx.x / 32, first = (int)blockIdx.x * ROWS, row = first + 16 * warp;
    u64 head = (u64)blockIdx.z * HEADS + blockIdx.y;
    k = head_rows<KEY_STEP>(k, SOURCES, k_row);
    v = head_rows<VALUE_DIM>(v, SOURCES, v_row);
    load_rows<ROWS, KEY_DIM, KEYS>(own_q, head_rows<KEY_DIM>(q, TOKENS, q_row), q_row, first, TOKENS);
    loads_begun();
    loads_done<0>();
    __syncthreads();
    const bf16* warp_q = own_q + 16 * warp * KEY_PITCH;
    u32 held[KEYS / 16][PARTS][4];
    if constexpr (HELD) hold<KEYS>(held, warp_q, OWN_KEYS);
    Rows rows;
    rows.clear();
    Stays stays(kept, head, row);
    for (int start = 0; start < SOURCES; start += TILE) {
        __syncthreads();
        load_rows<TILE, KEY_DIM, KEYS>(tile_k, k, k_row, start, SOURCES);
        load_rows<TILE, VALUE_DIM, VALUES>(tile_v, v, v_row, start, SOURCES);
        loads_begun();
        loads_done<0>();
        __syncthreads();
        float c[TILE / 8][4] = {};
        times_transposed<KEYS, TILE / 16, HELD>(c, held, warp_q, OWN_KEYS, tile_k, TILE_KEYS);
        rows.meet(c, start, row);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            // Zeros, if there is no such source at all: nothing is drawn for them.
            if (start + 16 * n < ALL_SOURCES) {
                stays.read(start + 16 * n);
                add_values(rows, c[2 * n], c[2 * n + 1], tile_v + 16 * n * VALUE_PITCH, TILE_VALUES, stays);
            }
        }
    }
    float factors[2];
    rows.finish(factors, keep_scale, logsum + head * TOKENS, row);
    // Rows of q are as wide as the others at most; all warps have theirs in registers or are done.
    __syncthreads();
    store_rows<VALUE_DIM, VALUES>(own_q + 16 * warp * WIDER_PITCH, rows.sums, factors,
                                  head_rows<VALUE_DIM>(out, TOKENS, out_row), out_row, row, TOKENS);
}

// dq, and for the other kernel delta, the sums over each row of out dout, [batch, heads, tokens].
KERNEL __launch_bounds__(32 * WARPS, 1)
    backward_q(const ACT* __restrict__ q, u32 q_row, const ACT* __restrict__ k, u32 k_row, const ACT* __restrict__ v,
               u32 v_row, const u16* __restrict__ kept, float keep_scale, const ACT* __restrict__ out, u32 out_row,
               const ACT* __restrict__ dout, u32 dout_row, const float* __restrict__ logsum, float* __restrict__ delta,
               ACT* __restrict__ dq, u32 dq_row) {
    DYNAMIC_SHARED(memory);
    bf16* own_q = reinterpret_cast<bf16*>(memory);
    bf16* own_dout = own_q + PARTS * OWN_KEYS;
    bf16* tile_k = own_dout + PARTS * OWN_VALUES;
    bf16* tile_v = tile_k + PARTS * TILE_KEYS;
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int first = (int)blockIdx.x * ROWS, row = first + 16 * warp;
    u64 head = (u64)blockIdx.z * HEADS + blockIdx.y, head_row = head * TOKENS;
    k = head_rows<KEY_STEP>(k, SOURCES, k_row);
    v = head_rows<VALUE_DIM>(v, SOURCES, v_row);
    out = head_rows<VALUE_DIM>(out, TOKENS, out_row);
    dout = head_rows<DOUT_STEP>(dout, TOKENS, dout_row);

    load_rows<ROWS, KEY_DIM, KEYS>(own_q, head_rows<KEY_DIM>(q, TOKENS, q_row), q_row, first, TOKENS);
    load_rows<ROWS, VALUE_DIM, VALUES>(own_dout, dout, dout_row, first, TOKENS);
    loads_begun();
    loads_done<0>();
    __syncthreads();
    const bf16* warp_q = own_q + 16 * warp * KEY_PITCH;
    const bf16* warp_dout = own_dout + 16 * warp * VALUE_PITCH;
    u32 held_q[KEYS / 16][PARTS][4], held_dout[VALUES / 16][PARTS][4];
    if constexpr (HELD) {
        hold<KEYS>(held_q, warp_q, OWN_KEYS);
        hold<VALUES>(held_dout, warp_dout, OWN_VALUES);
    }
    u64 token = row + lane / 2;
    float product = row_product(out + token * out_row, dout + token * dout_row, row + lane / 2 < TOKENS);
    if (lane % 2 == 0 && row + lane / 2 < TOKENS) delta[head_row + row + lane / 2] = product;
    float row_delta[2], row_logsum[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int at = row + g + 8 * i;
        row_delta[i] = __shfl_sync(0xFFFFFFFFu, product, 2 * (g + 8 * i)) / keep_scale;
        // Rows that are not there have no weights.
        row_logsum[i] = at < TOKENS ? logsum[head_row + at] : -NEGATIVE_INFINITY;
    }
    float sums[KEYS / 8][4] = {};
    Stays stays(kept, head, row);
    for (int start = 0; start < SOURCES; start += TILE) {
        __syncthreads();
        load_rows<TILE, KEY_DIM, KEYS>(tile_k, k, k_row, start, SOURCES);
        load_rows<TILE, VALUE_DIM, VALUES>(tile_v, v, v_row, start, SOURCES);
        loads_begun();
        loads_done<0>();
        __syncthreads();
#pragma unroll 1
        for (int s = 0; s < TILE && start + s < SOURCES; s += 16) {
            float c[2][4] = {}, d[2][4] = {};
            times_transposed<KEYS, 1, HELD>(c, held_q, warp_q, OWN_KEYS, tile_k + s * KEY_PITCH, TILE_KEYS);
            times_transposed<VALUES, 1, HELD>(d, held_dout, warp_dout, OWN_VALUES, tile_v + s * VALUE_PITCH, TILE_VALUES);
#if DROPOUT
            stays.read(start + s);
            stays.drop(d[0], d[1]);
#endif
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float weight = exp2_approximate(c[n][i] * SCALE_LOG2 - row_logsum[i / 2]);
                    if (SOURCES % 16 != 0 && start + s + 8 * n + 2 * t + i % 2 >= SOURCES) weight = 0;
                    if (DIAGONAL && start + s + 8 * n + 2 * t + i % 2 == row + g + i / 2 * 8) weight = 0;
                    c[n][i] = weight * (d[n][i] - row_delta[i / 2]);
                }
            }
            times<KEYS>(sums, c[0], c[1], tile_k + s * KEY_PITCH, TILE_KEYS);
        }
    }
    float scale = SCALE * keep_scale, factors[2] = {scale, scale};
    store_rows<KEY_DIM, KEYS>(own_q + 16 * warp * KEY_PITCH, sums, factors, head_rows<KEY_DIM>(dq, TOKENS, dq_row), dq_row,
                              row, TOKENS);
}

// dk and dv; rows are those of the sources here, and what passes through is q and dout.
KERNEL __launch_bounds__(32 * WARPS, 1)
    backward_kv(const ACT* __restrict__ q, u32 q_row, const ACT* __restrict__ k, u32 k_row, const ACT* __restrict__ v,
                u32 v_row, const u16* __restrict__ kept, float keep_scale, const ACT* __restrict__ dout, u32 dout_row,
                const float* __restrict__ logsum, const float* __restrict__ delta, ACT* __restrict__ dk, u32 dk_row,
                ACT* __restrict__ dv, u32 dv_row) {
    DYNAMIC_SHARED(memory);
    bf16* own_k = reinterpret_cast<bf16*>(memory);
    bf16* own_v = own_k + PARTS * OWN_KEYS;
    bf16* tile_q = own_v + PARTS * OWN_VALUES;
    bf16* tile_dout = tile_q + PARTS * TILE_KEYS;
    float* tile_logsum = reinterpret_cast<float*>(tile_dout + PARTS * TILE_VALUES);
    float* tile_delta = tile_logsum + TILE;
    int warp = (int)threadIdx.x / 32, first = (int)blockIdx.x * ROWS, row = first + 16 * warp;
    u64 head = (u64)blockIdx.z * HEADS + blockIdx.y, head_row = head * TOKENS;
    q = head_rows<KEY_DIM>(q, TOKENS, q_row);
    dout = head_rows<DOUT_STEP>(dout, TOKENS, dout_row);

    load_rows<ROWS, KEY_DIM, KEYS>(own_k, head_rows<KEY_STEP>(k, SOURCES, k_row), k_row, first, SOURCES);
    load_rows<ROWS, VALUE_DIM, VALUES>(own_v, head_rows<VALUE_DIM>(v, SOURCES, v_row), v_row, first, SOURCES);
    loads_begun();
    loads_done<0>();
    __syncthreads();
    bf16* warp_k = own_k + 16 * warp * KEY_PITCH;
    bf16* warp_v = own_v + 16 * warp * VALUE_PITCH;
    u32 held_k[KEYS / 16][PARTS][4], held_v[VALUES / 16][PARTS][4];
    if constexpr (HELD) {
        hold<KEYS>(held_k, warp_k, OWN_KEYS);
        hold<VALUES>(held_v, warp_v, OWN_VALUES);
    }
    // A row that is not there has no bits of its own; those of the first are as good.
    const u16* words = kept + kept_words(head, row < ALL_SOURCES ? row : 0);
    float sums_k[KEYS / 8][4] = {}, sums_v[VALUES / 8][4] = {};
    for (int start = 0; start < TOKENS; start += TILE) {
        __syncthreads();
        load_rows<TILE, KEY_DIM, KEYS>(tile_q, q, q_row, start, TOKENS);
        load_rows<TILE, VALUE_DIM, VALUES>(tile_dout, dout, dout_row, start, TOKENS);
        loads_begun();
        for (int i = threadIdx.x; i < TILE; i += THREADS) {
            bool there = start + i < TOKENS;
            tile_logsum[i] = there ? logsum[head_row + start + i] : -NEGATIVE_INFINITY;
            tile_delta[i] = there ? delta[head_row + start + i] / keep_scale : 0;
        }
        loads_done<0>();
        __syncthreads();
#pragma unroll 1
        for (int s = 0; s < TILE && start + s < TOKENS; s += 16) {
            float c[2][4] = {}, d[2][4] = {};
            times_transposed<KEYS, 1, HELD>(c, held_k, warp_k, OWN_KEYS, tile_q + s * KEY_PITCH, TILE_KEYS);
            times_transposed<VALUES, 1, HELD>(d, held_v, warp_v, OWN_VALUES, tile_dout + s * VALUE_PITCH, TILE_VALUES);
            differentiate(c, d, tile_logsum + s, tile_delta + s, words + start + s, row, start + s);
            times<VALUES>(sums_v, d[0], d[1], tile_dout + s * VALUE_PITCH, TILE_VALUES);
            times<KEYS>(sums_k, c[0], c[1], tile_q + s * KEY_PITCH, TILE_KEYS);
        }
    }
    float scale = SCALE * keep_scale, scales[2] = {scale, scale}, of_values[2] = {keep_scale, keep_scale};
    store_rows<KEY_DIM, KEYS>(warp_k, sums_k, scales, head_rows<KEY_DIM>(dk, SOURCES, dk_row), dk_row, row, SOURCES);
    store_rows<VALUE_DIM, VALUES>(warp_v, sums_v, of_values, head_rows<VALUE_DIM>(dv, SOURCES, dv_row), dv_row, row, SOURCES);
}
