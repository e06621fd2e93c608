// Scaled dot-product attention for heads of any width, in float32 arithmetic, forward and backward,
// without the matrix of weights in memory. Definitions: ACT the activations' type; KEY_DIM, VALUE_DIM;
// ROWS that a warp does; VECTOR elements moved at once; DROPOUT; DIAGONAL if no token meets itself;
// KEY_STEP and DOUT_STEP, elements from one head to the next of what all may share: keys, and the gradient of the output.
//
// A warp does ROWS rows of head blockIdx.y of image blockIdx.z, and meets the other side in groups of
// 32, one for each lane. Tensors are [batch, tokens or sources, row], heads side by side in a row.
#include "common.cuh"

#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef DIAGONAL
#define DIAGONAL 0
#endif

constexpr int WARPS = 4;
constexpr int KEY_PARTS = (KEY_DIM + 31) / 32, VALUE_PARTS = (VALUE_DIM + 31) / 32;

// What the kernels share: extents, and the place of a head in the tensors.
struct Head {
    int tokens, sources;
    u64 row;

    __device__ __forceinline__ u64 weight(int token, int source) const { return (row + token) * sources + source; }
};

__device__ __forceinline__ Head this_head(int tokens, int sources) {
    return Head{tokens, sources, ((u64)blockIdx.z * gridDim.y + blockIdx.y) * tokens};
}

template <int DIM> __device__ __forceinline__ const ACT* head_rows(const ACT* tensor, int rows, u32 row) {
    return tensor + (u64)blockIdx.z * rows * row + blockIdx.y * DIM;
}

// A warp's rows from `first` on, to shared memory; zeros past `limit`.
template <int DIM> __device__ __forceinline__ void fetch(float* to, const ACT* from, u32 row, int first, int limit) {
    for (int i = threadIdx.x % 32; i < ROWS * DIM; i += 32)
        to[i] = first + i / DIM < limit ? load(from[(u64)(first + i / DIM) * row + i % DIM]) : 0;
    __syncwarp();
}

// products[r] = own[r] times a row of this lane's own.
template <int DIM> __device__ __forceinline__ void multiply(float (&products)[ROWS], const float* own, const ACT* other) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) products[r] = 0;
#pragma unroll 2
    for (int c = 0; c < DIM; c += VECTOR) {
        float values[VECTOR];
        load_vector<VECTOR>(other + c, values);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
#pragma unroll
            for (int i = 0; i < VECTOR; i++) products[r] += own[r * DIM + c + i] * values[i];
        }
    }
}

// sums[r] += the factors of all lanes times their rows: `count` rows from `rows` on. A lane holds
// columns lane, lane + 32 and so on.
template <int DIM, int PARTS>
__device__ __forceinline__ void accumulate(float (&sums)[ROWS][PARTS], const float (&factors)[ROWS], const ACT* rows,
                                           u32 row, int count) {
    int lane = (int)threadIdx.x % 32;
    for (int j = 0; j < count; j++) {
        float values[PARTS];
#pragma unroll
        for (int i = 0; i < PARTS; i++) values[i] = lane + 32 * i < DIM ? load(rows[(u64)j * row + lane + 32 * i]) : 0;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float factor = __shfl_sync(0xFFFFFFFFu, factors[r], j);
#pragma unroll
            for (int i = 0; i < PARTS; i++) sums[r][i] += factor * values[i];
        }
    }
}

template <int DIM, int PARTS>
__device__ __forceinline__ void put(ACT* to, u32 row, int first, int limit, const float (&sums)[ROWS][PARTS],
                                    const float (&factors)[ROWS]) {
    int lane = (int)threadIdx.x % 32;
    to += (u64)blockIdx.z * limit * row + blockIdx.y * DIM;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
        for (int i = 0; i < PARTS; i++) {
            if (first + r < limit && lane + 32 * i < DIM) store(to[(u64)(first + r) * row + lane + 32 * i], sums[r][i] * factors[r]);
        }
    }
}

__device__ __forceinline__ float dropout_factor(const Mask& mask, float keep_scale, u64 weight) {
    return mask.kept(weight / 8) >> weight % 8 & 1 ? keep_scale : 0.0f;
}

// out = dropout(softmax(scale q k^T)) v; logsum is the base-2 logarithm of each row's sum of exponentials,
// [batch, heads, tokens].
KERNEL __launch_bounds__(128) forward(int tokens, int sources, float scale, const ACT* __restrict__ q, u32 q_row,
                                      const ACT* __restrict__ k, u32 k_row, const ACT* __restrict__ v, u32 v_row,
                                      DROPOUT_PARAMETERS, ACT* __restrict__ out, u32 out_row, float* __restrict__ logsum) {
    DYNAMIC_SHARED(memory);
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int first = ((int)blockIdx.x * WARPS + warp) * ROWS;
    Head head = this_head(tokens, sources);
    float* own = reinterpret_cast<float*>(memory) + warp * ROWS * KEY_DIM;
    fetch<KEY_DIM>(own, head_rows<KEY_DIM>(q, tokens, q_row), q_row, first, tokens);
    k = head_rows<KEY_STEP>(k, sources, k_row);
    v = head_rows<VALUE_DIM>(v, sources, v_row);
    scale *= 1.44269504f;
#if DROPOUT
    Mask mask = DROPOUT_MASK;
#endif
    float sums[ROWS][VALUE_PARTS] = {}, largest[ROWS], total[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) largest[r] = NEGATIVE_INFINITY, total[r] = 0;
    for (int start = 0; start < sources; start += 32) {
        int source = start + lane;
        // Lanes past the last source do it again; nobody asks them for the result.
        int row = min(source, sources - 1);
        float weights[ROWS];
        multiply<KEY_DIM>(weights, own, k + (u64)row * k_row);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float score = source < sources ? weights[r] * scale : NEGATIVE_INFINITY;
            if (DIAGONAL && source == first + r) score = NEGATIVE_INFINITY;
            float now = fmaxf(largest[r], warp_max(score));
            float factor = exp2f(largest[r] - now);
            largest[r] = now;
            weights[r] = exp2f(score - now);
            total[r] = total[r] * factor + weights[r];
#pragma unroll
            for (int i = 0; i < VALUE_PARTS; i++) sums[r][i] *= factor;
#if DROPOUT
            weights[r] *= dropout_factor(mask, keep_scale, head.weight(first + r, source));
#endif
        }
        accumulate<VALUE_DIM, VALUE_PARTS>(sums, weights, v + (u64)start * v_row, v_row, min(32, sources - start));
    }
    float factors[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        float sum = warp_sum(total[r]);
        factors[r] = 1.0f / sum;
        if (lane == 0 && first + r < tokens) logsum[head.row + first + r] = largest[r] + log2f(sum);
    }
    put<VALUE_DIM, VALUE_PARTS>(out, out_row, first, tokens, sums, factors);
}

// dq, and for the other kernel delta, the sums over each row of out dout, [batch, heads, tokens].
KERNEL __launch_bounds__(128)
    backward_q(int tokens, int sources, float scale, const ACT* __restrict__ q, u32 q_row, const ACT* __restrict__ k,
               u32 k_row, const ACT* __restrict__ v, u32 v_row, DROPOUT_PARAMETERS, const ACT* __restrict__ out, u32 out_row,
               const ACT* __restrict__ dout, u32 dout_row, const float* __restrict__ logsum, float* __restrict__ delta,
               ACT* __restrict__ dq, u32 dq_row) {
    DYNAMIC_SHARED(memory);
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int first = ((int)blockIdx.x * WARPS + warp) * ROWS;
    Head head = this_head(tokens, sources);
    float* own = reinterpret_cast<float*>(memory) + warp * ROWS * (KEY_DIM + VALUE_DIM);
    float* own_dout = own + ROWS * KEY_DIM;
    fetch<KEY_DIM>(own, head_rows<KEY_DIM>(q, tokens, q_row), q_row, first, tokens);
    fetch<VALUE_DIM>(own_dout, head_rows<DOUT_STEP>(dout, tokens, dout_row), dout_row, first, tokens);
    k = head_rows<KEY_STEP>(k, sources, k_row);
    v = head_rows<VALUE_DIM>(v, sources, v_row);
    out = head_rows<VALUE_DIM>(out, tokens, out_row);
#if DROPOUT
    Mask mask = DROPOUT_MASK;
#endif
    float sums[ROWS][KEY_PARTS] = {}, row_delta[ROWS], row_logsum[ROWS], scales[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        bool there = first + r < tokens;
        float sum = 0;
        for (int c = lane; there && c < VALUE_DIM; c += 32) sum += load(out[(u64)(first + r) * out_row + c]) * own_dout[r * VALUE_DIM + c];
        row_delta[r] = warp_sum(sum);
        row_logsum[r] = there ? logsum[head.row + first + r] : 0;
        scales[r] = scale;
        if (there && lane == 0) delta[head.row + first + r] = row_delta[r];
    }
    for (int start = 0; start < sources; start += 32) {
        int source = start + lane, row = min(source, sources - 1);
        float scores[ROWS], grads[ROWS];
        multiply<KEY_DIM>(scores, own, k + (u64)row * k_row);
        multiply<VALUE_DIM>(grads, own_dout, v + (u64)row * v_row);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float weight = exp2f(scores[r] * (scale * 1.44269504f) - row_logsum[r]);
            if (DIAGONAL && source == first + r) weight = 0;
#if DROPOUT
            grads[r] *= dropout_factor(mask, keep_scale, head.weight(first + r, source));
#endif
            grads[r] = weight * (grads[r] - row_delta[r]);
        }
        accumulate<KEY_DIM, KEY_PARTS>(sums, grads, k + (u64)start * k_row, k_row, min(32, sources - start));
    }
    put<KEY_DIM, KEY_PARTS>(dq, dq_row, first, tokens, sums, scales);
}

// dk and dv; a warp's rows are of the sources here, and a lane's of the tokens.
KERNEL __launch_bounds__(128)
    backward_kv(int tokens, int sources, float scale, const ACT* __restrict__ q, u32 q_row, const ACT* __restrict__ k,
                u32 k_row, const ACT* __restrict__ v, u32 v_row, DROPOUT_PARAMETERS, const ACT* __restrict__ dout,
                u32 dout_row, const float* __restrict__ logsum, const float* __restrict__ delta, ACT* __restrict__ dk,
                u32 dk_row, ACT* __restrict__ dv, u32 dv_row) {
    DYNAMIC_SHARED(memory);
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int first = ((int)blockIdx.x * WARPS + warp) * ROWS;
    Head head = this_head(tokens, sources);
    float* own_k = reinterpret_cast<float*>(memory) + warp * ROWS * (KEY_DIM + VALUE_DIM);
    float* own_v = own_k + ROWS * KEY_DIM;
    fetch<KEY_DIM>(own_k, head_rows<KEY_STEP>(k, sources, k_row), k_row, first, sources);
    fetch<VALUE_DIM>(own_v, head_rows<VALUE_DIM>(v, sources, v_row), v_row, first, sources);
    q = head_rows<KEY_DIM>(q, tokens, q_row);
    dout = head_rows<DOUT_STEP>(dout, tokens, dout_row);
#if DROPOUT
    Mask mask = DROPOUT_MASK;
#endif
    float sums_k[ROWS][KEY_PARTS] = {}, sums_v[ROWS][VALUE_PARTS] = {}, scales[ROWS], ones[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) scales[r] = scale, ones[r] = 1;
    for (int start = 0; start < tokens; start += 32) {
        int token = start + lane, row = min(token, tokens - 1);
        float weights[ROWS], grads[ROWS];
        multiply<KEY_DIM>(weights, own_k, q + (u64)row * q_row);
        multiply<VALUE_DIM>(grads, own_v, dout + (u64)row * dout_row);
        float token_logsum = logsum[head.row + row], token_delta = delta[head.row + row];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float weight = exp2f(weights[r] * (scale * 1.44269504f) - token_logsum);
            if (DIAGONAL && token == first + r) weight = 0;
            float factor = 1;
#if DROPOUT
            factor = dropout_factor(mask, keep_scale, head.weight(token, first + r));
#endif
            weights[r] = weight * factor;
            grads[r] = weight * (grads[r] * factor - token_delta);
        }
        int count = min(32, tokens - start);
        accumulate<VALUE_DIM, VALUE_PARTS>(sums_v, weights, dout + (u64)start * dout_row, dout_row, count);
        accumulate<KEY_DIM, KEY_PARTS>(sums_k, grads, q + (u64)start * q_row, q_row, count);
    }
    put<KEY_DIM, KEY_PARTS>(dk, dk_row, first, sources, sums_k, scales);
    put<VALUE_DIM, VALUE_PARTS>(dv, dv_row, first, sources, sums_v, ones);
}
