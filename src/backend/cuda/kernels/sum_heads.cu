// Sums of what heads have made. Definitions: ACT the activations' type; HEADS; VECTOR elements moved at once.
#include "common.cuh"

// y[i, j] = bias[j] + the sum over heads h of x[i, h, j]; bias may be null. x [rows, HEADS, width]; y [rows, width].
KERNEL __launch_bounds__(256)
    sum_heads(u64 count, int width, const ACT* __restrict__ x, const float* __restrict__ bias, ACT* __restrict__ y) {
    for (u64 i = ((u64)blockIdx.x * 256 + threadIdx.x) * VECTOR; i < count; i += (u64)gridDim.x * 256 * VECTOR) {
        u64 row = i / width;
        int column = (int)(i % width);
        float sums[VECTOR];
#pragma unroll
        for (int j = 0; j < VECTOR; j++) sums[j] = bias ? bias[column + j] : 0.0f;
#pragma unroll 8
        for (int head = 0; head < HEADS; head++) {
            float values[VECTOR];
            load_vector<VECTOR>(x + (row * HEADS + head) * width + column, values);
#pragma unroll
            for (int j = 0; j < VECTOR; j++) sums[j] += values[j];
        }
        store_vector<VECTOR>(y + i, sums);
    }
}
