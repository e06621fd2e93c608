// What the directions of matrices need besides products: see `src/graph/ops/direction.rs`. Definitions: OPERAND the type of the
// products' operands.
#include "common.cuh"

#ifndef OPERAND
#define OPERAND float
#endif

constexpr int THREADS = 256;

// The sum of a number of each thread of the block, in a fixed order, for all threads.
__device__ __forceinline__ float block_sum(float value) {
    __shared__ float sums[THREADS / 32];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < THREADS / 32; i++) sum += sums[i];
    return sum;
}

// parts[b] = the sum of the squares of the b-th `chunk` elements of x, whose rows of `width` elements begin `stride` apart.
KERNEL __launch_bounds__(256) sum_of_squares(u32 count, u32 width, u32 stride, u32 chunk, const float* __restrict__ x, float* __restrict__ parts) {
    u32 first = blockIdx.x * chunk, end = first + chunk < count ? first + chunk : count;
    float sum = 0;
    for (u32 i = first + threadIdx.x; i < end; i += THREADS) {
        float value = x[(u64)(i / width) * stride + i % width];
        sum += value * value;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// y = x / (norm + epsilon), y without gaps; the square of the norm is the sum of the parts, of which every block makes the
// same.
KERNEL __launch_bounds__(256) normalise(u32 count, u32 width, u32 stride, u32 part_count, float epsilon, const float* __restrict__ x, const float* __restrict__ parts, OPERAND* __restrict__ y) {
    float sum = 0;
    for (u32 i = threadIdx.x; i < part_count; i += THREADS) sum += parts[i];
    float factor = 1.0f / (sqrtf(block_sum(sum)) + epsilon);
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        store(y[i], x[(u64)(i / width) * stride + i % width] * factor);
    }
}

// factor = b square + c fourth, and a more on the diagonal: all `[size, size]`.
KERNEL __launch_bounds__(256) polynomial(u32 size, float a, float b, float c, const OPERAND* __restrict__ square, const OPERAND* __restrict__ fourth, OPERAND* __restrict__ factor) {
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < size * size; i += gridDim.x * THREADS) {
        float value = b * load(square[i]) + c * load(fourth[i]);
        if (i / size == i % size) value += a;
        store(factor[i], value);
    }
}
