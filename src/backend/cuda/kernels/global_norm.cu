// What gradients are multiplied by so that the norm of all of them together is at most a number.
#include "common.cuh"

constexpr int THREADS = 256;

// The sum of a number of each thread of the block, in a fixed order; thread 0 has it.
__device__ __forceinline__ float block_sum(float value) {
    __shared__ float sums[THREADS / 32];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0;
    if (threadIdx.x == 0) {
#pragma unroll
        for (int i = 0; i < THREADS / 32; i++) sum += sums[i];
    }
    return sum;
}

// parts[b] = the sum of the squares of the elements b `chunk` to (b + 1) `chunk` of x; `count` and `chunk` are multiples
// of 4.
KERNEL __launch_bounds__(256) sum_of_squares(u64 count, u64 chunk, const float* __restrict__ x, float* __restrict__ parts) {
    u64 first = blockIdx.x * chunk, end = first + chunk < count ? first + chunk : count;
    float sum = 0;
    for (u64 i = first + threadIdx.x * 4; i < end; i += THREADS * 4) {
        float values[4];
        load_vector<4>(x + i, values);
        sum += values[0] * values[0] + values[1] * values[1] + (values[2] * values[2] + values[3] * values[3]);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// result[0] = clip_norm / max(norm, clip_norm), result[1] = norm: its square is the sum of the parts. One block.
KERNEL __launch_bounds__(256) clip_factor(u32 count, float clip_norm, const float* __restrict__ parts, float* __restrict__ result) {
    float sum = 0;
    for (u32 i = threadIdx.x; i < count; i += THREADS) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        float norm = sqrtf(sum);
        result[0] = clip_norm / (norm > clip_norm || norm != norm ? norm : clip_norm);
        result[1] = norm;
    }
}
