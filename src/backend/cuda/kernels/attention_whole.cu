// Scaled dot-product attention by tensor cores, forward and backward, one block for each head of an image,
// which is in shared memory as a whole: flash attention (Dao 2023) for few tokens. Definitions: as of
// attention.cuh; BLOCKS that share a multiprocessor.
//
// The block does head blockIdx.x of image blockIdx.y. Tensors are [batch, tokens or sources, row], heads side
// by side in a row. A warp's rows are 16 tokens or 16 sources.
#include "attention.cuh"

constexpr int ROWS = 16 * WARPS;
// Gradients of scores, [sources, tokens].
constexpr int SCORE_PITCH = ALL_TOKENS + 8;

__device__ __forceinline__ u64 this_head() { return (u64)blockIdx.y * HEADS + blockIdx.x; }

template <int DIM, typename T> __device__ __forceinline__ T* head_rows(T* tensor, int rows, u32 row) {
    return tensor + (u64)blockIdx.y * rows * row + blockIdx.x * DIM;
}

// out = dropout(softmax(SCALE q k^T)) v; logsum is the base-2 logarithm of each row's sum of exponentials,
// [batch, heads, tokens].
KERNEL __launch_bounds__(32 * WARPS, BLOCKS)
    forward(const ACT* __restrict__ q, u32 q_row, const ACT* __restrict__ k, u32 k_row, const ACT* __restrict__ v,
            u32 v_row, const u16* __restrict__ kept, float keep_scale, ACT* __restrict__ out, u32 out_row,
            float* __restrict__ logsum) {
    DYNAMIC_SHARED(memory);
    constexpr int Q_PLANE = ROWS * KEY_PITCH, K_PLANE = ALL_SOURCES * KEY_PITCH, V_PLANE = ALL_SOURCES * VALUE_PITCH;
    bf16* all_q = reinterpret_cast<bf16*>(memory);
    bf16* all_k = all_q + PARTS * ROWS * WIDER_PITCH;
    bf16* all_v = all_k + PARTS * K_PLANE;
    int row = (int)threadIdx.x / 32 * 16;
    u64 head = this_head();
    load_rows<ROWS, KEY_DIM, KEYS>(all_q, head_rows<KEY_DIM>(q, TOKENS, q_row), q_row, 0, TOKENS);
    load_rows<ALL_SOURCES, KEY_DIM, KEYS>(all_k, head_rows<KEY_STEP>(k, SOURCES, k_row), k_row, 0, SOURCES);
    loads_begun();
    load_rows<ALL_SOURCES, VALUE_DIM, VALUES>(all_v, head_rows<VALUE_DIM>(v, SOURCES, v_row), v_row, 0, SOURCES);
    loads_begun();
    loads_done<1>();
    __syncthreads();
    u32 held[KEYS / 16][PARTS][4];
    if constexpr (HELD) hold<KEYS>(held, all_q + row * KEY_PITCH, Q_PLANE);
    Rows rows;
    rows.clear();
    Stays stays(kept, head, row);
    // Sixteen at a time: more scores would not leave enough registers for two blocks of the reference model's.
#pragma unroll 1
    for (int source = 0; source < ALL_SOURCES; source += 16) {
        // Read here, so that they are there when they are wanted.
        stays.read(source);
        float c[2][4] = {};
        times_transposed<KEYS, 1, HELD>(c, held, all_q + row * KEY_PITCH, Q_PLANE, all_k + source * KEY_PITCH, K_PLANE);
        rows.meet(c, source, row);
        if (source == 0) {
            loads_done<0>();
            __syncthreads();
        }
        add_values(rows, c[0], c[1], all_v + source * VALUE_PITCH, V_PLANE, stays);
    }
    float factors[2];
    rows.finish(factors, keep_scale, logsum + head * TOKENS, row);
    // Rows of q are as wide as the others at most; all warps have theirs in registers or are done.
    __syncthreads();
    store_rows<VALUE_DIM, VALUES>(all_q + row * WIDER_PITCH, rows.sums, factors, head_rows<VALUE_DIM>(out, TOKENS, out_row),
                                  out_row, row, TOKENS);
}

// dq, dk and dv. A warp's rows are sources, and tokens pass by; the gradients of all scores are kept, so that in the end
// its rows can be tokens, for dq.
KERNEL __launch_bounds__(32 * WARPS, BLOCKS)
    backward(const ACT* __restrict__ q, u32 q_row, const ACT* __restrict__ k, u32 k_row, const ACT* __restrict__ v,
             u32 v_row, const u16* __restrict__ kept, float keep_scale, const ACT* __restrict__ out, u32 out_row,
             const ACT* __restrict__ dout, u32 dout_row, const float* __restrict__ logsum, ACT* __restrict__ dq, u32 dq_row,
             ACT* __restrict__ dk, u32 dk_row, ACT* __restrict__ dv, u32 dv_row) {
    DYNAMIC_SHARED(memory);
    constexpr int KEY_PLANE = ROWS * KEY_PITCH, VALUE_PLANE = ROWS * VALUE_PITCH, SCORE_PLANE = ROWS * SCORE_PITCH;
    bf16* all_k = reinterpret_cast<bf16*>(memory);
    bf16* all_q = all_k + PARTS * KEY_PLANE;
    bf16* all_dout = all_q + PARTS * KEY_PLANE;
    // Values are in registers before the first gradient of a score is written.
    bf16* all_v = all_dout + PARTS * VALUE_PLANE;
    bf16* scores = all_v;
    constexpr int LAST = SCORE_PLANE > VALUE_PLANE ? SCORE_PLANE : VALUE_PLANE;
    float* all_logsum = reinterpret_cast<float*>(all_v + PARTS * LAST);
    float* delta = all_logsum + ALL_TOKENS;
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4, row = (int)threadIdx.x / 32 * 16;
    u64 head = this_head();
    out = head_rows<VALUE_DIM>(out, TOKENS, out_row);
    dout = head_rows<DOUT_STEP>(dout, TOKENS, dout_row);
    load_rows<ROWS, KEY_DIM, KEYS>(all_k, head_rows<KEY_STEP>(k, SOURCES, k_row), k_row, 0, SOURCES);
    load_rows<ROWS, VALUE_DIM, VALUES>(all_v, head_rows<VALUE_DIM>(v, SOURCES, v_row), v_row, 0, SOURCES);
    load_rows<ROWS, KEY_DIM, KEYS>(all_q, head_rows<KEY_DIM>(q, TOKENS, q_row), q_row, 0, TOKENS);
    load_rows<ROWS, VALUE_DIM, VALUES>(all_dout, dout, dout_row, 0, TOKENS);
    loads_begun();
    // Sums over each row of out dout, by two lanes.
    for (int i = threadIdx.x; i < 2 * ALL_TOKENS; i += THREADS) {
        // A warp's lanes are all here or all gone: there are 32 of them for each 16 tokens.
        int token = i / 2;
        float sum = row_product(out + (u64)token * out_row, dout + (u64)token * dout_row, token < TOKENS);
        if (i % 2 == 0) {
            delta[token] = sum / keep_scale;
            // Rows that are not there have no weights.
            all_logsum[token] = token < TOKENS ? logsum[head * TOKENS + token] : -NEGATIVE_INFINITY;
        }
    }
    loads_done<0>();
    __syncthreads();
    u32 held[VALUES / 16][PARTS][4], held_k[KEYS / 16][PARTS][4];
    hold<VALUES>(held, all_v + row * VALUE_PITCH, VALUE_PLANE);
    // Keys stay in registers too where there is room for them, and are not read from shared memory for each 16 tokens.
    constexpr bool HOLD_KEYS = PARTS == 1 && KEYS + VALUES <= 128 && !(DROPOUT && WARPS > 12);
    if constexpr (HOLD_KEYS) hold<KEYS>(held_k, all_k + row * KEY_PITCH, KEY_PLANE);
    __syncthreads();
    float sums_k[KEYS / 8][4] = {}, sums_v[VALUES / 8][4] = {};
    if (row < ALL_SOURCES) {
        const u16* words = kept + kept_words(head, row);
#pragma unroll 1
        for (int s = 0; s < ALL_TOKENS; s += 16) {
            float c[2][4] = {}, d[2][4] = {};
            times_transposed<KEYS, 1, HOLD_KEYS>(c, held_k, all_k + row * KEY_PITCH, KEY_PLANE, all_q + s * KEY_PITCH, KEY_PLANE);
            times_transposed<VALUES, 1, true>(d, held, nullptr, 0, all_dout + s * VALUE_PITCH, VALUE_PLANE);
            differentiate(c, d, all_logsum + s, delta + s, words + s, row, s);
            times<VALUES>(sums_v, d[0], d[1], all_dout + s * VALUE_PITCH, VALUE_PLANE);
            u32 a[PARTS][4];
            operand(a, c[0], c[1]);
            times_rows<KEYS>(sums_k, a, all_q + s * KEY_PITCH, KEY_PLANE);
            put<SCORE_PITCH>(scores + (row + g) * SCORE_PITCH + s + 2 * t, SCORE_PLANE, a);
        }
    }
    __syncthreads();
    float scale = SCALE * keep_scale, scales[2] = {scale, scale}, of_values[2] = {keep_scale, keep_scale};
    bf16* part = all_q + row * (KEY_PITCH + VALUE_PITCH);
    if (row < ALL_SOURCES) {
        store_rows<KEY_DIM, KEYS>(part, sums_k, scales, head_rows<KEY_DIM>(dk, SOURCES, dk_row), dk_row, row, SOURCES);
        store_rows<VALUE_DIM, VALUES>(part, sums_v, of_values, head_rows<VALUE_DIM>(dv, SOURCES, dv_row), dv_row, row, SOURCES);
    }
    if (row < ALL_TOKENS) {
        float sums[KEYS / 8][4] = {};
#pragma unroll 1
        for (int source = 0; source < ALL_SOURCES; source += 16) {
            u32 a[PARTS][4];
            left_transposed(a, scores + source * SCORE_PITCH + row + transposed_place<SCORE_PITCH>(lane), SCORE_PLANE);
            times_rows<KEYS>(sums, a, all_k + source * KEY_PITCH, KEY_PLANE);
        }
        store_rows<KEY_DIM, KEYS>(part, sums, scales, head_rows<KEY_DIM>(dq, TOKENS, dq_row), dq_row, row, TOKENS);
    }
}
