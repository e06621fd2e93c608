// Sums of the gradients of micro-batches. While *stop is not zero, nothing changes.
#include "common.cuh"

constexpr int THREADS = 256;

// sum += gradient
KERNEL __launch_bounds__(256) accumulate(u32 count, const u32* stop, const float* gradient, float* sum) {
    if (*stop != 0) return;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) sum[i] = sum[i] + gradient[i];
}

// gradient = (sum + gradient) share, sum = 0
KERNEL __launch_bounds__(256) end_accumulation(u32 count, float share, const u32* stop, float* gradient, float* sum) {
    if (*stop != 0) return;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        gradient[i] = (sum[i] + gradient[i]) * share;
        sum[i] = 0;
    }
}
