// Batch normalisation. Tensors are rows of channels. Definitions: FROM the type of x, GRADIENT that of dy, TO that of the
// result.
#include "common.cuh"

#ifndef GRADIENT
#define GRADIENT FROM
#endif
#ifndef TO
#define TO FROM
#endif

constexpr int THREADS = 256;
constexpr int LANES = 32;
constexpr int GROUPS = THREADS / LANES;

__device__ __forceinline__ float rstd(float variance, float epsilon) { return 1.0f / sqrtf(variance + epsilon); }

// Two sums of each channel over parts of `part` rows, [parts, 2, channels]. Blocks: (channel tiles, parts).
template <typename Terms>
__device__ __forceinline__ void sums(int rows, int channels, int part, float* out, Terms terms) {
    int lane = (int)threadIdx.x % LANES, group = (int)threadIdx.x / LANES;
    int channel = (int)blockIdx.x * LANES + lane;
    int begin = (int)blockIdx.y * part, end = min(rows, begin + part);
    float first = 0.0f, second = 0.0f;
    if (channel < channels) {
        for (int row = begin + group; row < end; row += GROUPS) {
            float a, b;
            terms((u64)row * channels + channel, channel, a, b);
            first += a;
            second += b;
        }
    }
    __shared__ float shared[2][GROUPS][LANES];
    shared[0][group][lane] = first;
    shared[1][group][lane] = second;
    __syncthreads();
    if (group < 2 && channel < channels) {
        float sum = 0.0f;
        for (int g = 0; g < GROUPS; g++) sum += shared[group][g][lane];
        out[((u64)blockIdx.y * 2 + group) * channels + channel] = sum;
    }
}

// Of x - shift and of its square.
KERNEL __launch_bounds__(256) moments(int rows, int channels, int part, const FROM* x, const float* shift, float* out) {
    sums(rows, channels, part, out, [&](u64 at, int channel, float& a, float& b) {
        a = load(x[at]) - shift[channel];
        b = a * a;
    });
}

// Mean and variance of `count` numbers from their moments.
KERNEL __launch_bounds__(256) statistics(
    int channels, float count, const float* moments, const float* shift, float* mean, float* variance) {
    int channel = (int)(blockIdx.x * THREADS + threadIdx.x);
    if (channel >= channels) return;
    float first = moments[channel] / count, second = moments[channels + channel] / count;
    float moved = shift[channel] + first;
    mean[channel] = moved;
    variance[channel] = fmaxf(second - first * first, 0.0f);
}

KERNEL __launch_bounds__(256) normalise(
    u32 count, int channels, float epsilon, const FROM* x, const float* gamma, const float* beta, const float* mean,
    const float* variance, TO* y) {
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        int c = i % channels;
        store(y[i], (load(x[i]) - mean[c]) * (gamma[c] * rstd(variance[c], epsilon)) + beta[c]);
    }
}

// The gradients of gamma and of beta.
KERNEL __launch_bounds__(256) gradient_sums(
    int rows, int channels, int part, float epsilon, const GRADIENT* dy, const FROM* x, const float* mean,
    const float* variance, float* out) {
    sums(rows, channels, part, out, [&](u64 at, int channel, float& a, float& b) {
        b = load(dy[at]);
        a = b * ((load(x[at]) - mean[channel]) * rstd(variance[channel], epsilon));
    });
}

// The gradient of x. `share` is one by how many numbers were summed, or 0 for statistics that are not the batch's.
KERNEL __launch_bounds__(256) gradient(
    u32 count, int channels, float epsilon, float share, const GRADIENT* dy, const FROM* x, const float* gamma,
    const float* mean, const float* variance, const float* dgamma, const float* dbeta, TO* dx) {
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        int c = i % channels;
        float inverse = rstd(variance[c], epsilon), normal = (load(x[i]) - mean[c]) * inverse;
        float inner = load(dy[i]) - dbeta[c] * share - normal * dgamma[c] * share;
        store(dx[i], gamma[c] * inverse * inner);
    }
}

// One step of a moving average, and a copy of it unless that is null. Where *stop is not zero, nothing changes.
KERNEL __launch_bounds__(256) moving_average(
    u32 count, float momentum, const u32* stop, const float* statistic, float* average, float* copy) {
    if (*stop != 0) return;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        float moved = momentum * average[i] + (1.0f - momentum) * statistic[i];
        average[i] = moved;
        if (copy) copy[i] = moved;
    }
}
