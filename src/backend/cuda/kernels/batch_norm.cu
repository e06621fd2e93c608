// Batch normalisation, and the activation after it. Tensors are rows of channels. Definitions: FROM the type of x, GRADIENT that
// of dy, TO that of the result; VECTOR channels of a thread; LANES threads, of a block's 256, side by side along the channels;
// ACTIVATION and SLOPE the bodies of f and its derivative, functions of x0; RESIDUAL: 1 where a tensor is added to
// what f makes, 2 where it is added to what f takes.
//
// A thread keeps its channels, and what it needs to know of them in registers, and goes from row to row. Blocks: (channel
// tiles, parts of `part` rows).
#include "common.cuh"

#ifndef GRADIENT
#define GRADIENT FROM
#endif
#ifndef TO
#define TO FROM
#endif
#ifndef VECTOR
#define VECTOR 1
#endif
#ifndef LANES
#define LANES 32
#endif
#ifndef ACTIVATION
#define ACTIVATION return x0;
#endif
#ifndef SLOPE
#define SLOPE return 1.0f;
#endif
#ifndef RESIDUAL
#define RESIDUAL 0
#endif

constexpr int THREADS = 256;
constexpr int GROUPS = THREADS / LANES;

__device__ __forceinline__ float activation(float x0) { ACTIVATION }
__device__ __forceinline__ float slope(float x0) { SLOPE }
__device__ __forceinline__ float rstd(float variance, float epsilon) { return 1.0f / sqrtf(variance + epsilon); }

#define EACH for (int i = 0; i < VECTOR; i++)

// The channels of a thread, and its rows.
struct Place {
    int group, channel, begin, end;

    __device__ __forceinline__ Place(int rows, int part) {
        group = (int)threadIdx.x / LANES;
        channel = ((int)blockIdx.x * LANES + (int)threadIdx.x % LANES) * VECTOR;
        begin = (int)blockIdx.y * part + group;
        end = min(rows, (int)blockIdx.y * part + part);
    }
};

// What normalises the channels: (x - mean) scale + beta.
struct Normal {
    float mean[VECTOR], scale[VECTOR], beta[VECTOR];

    __device__ __forceinline__ Normal(
        int channel, float epsilon, const float* gammas, const float* betas, const float* means, const float* variances) {
        float variance[VECTOR];
        load_vector<VECTOR>(means + channel, mean);
        load_vector<VECTOR>(variances + channel, variance);
        load_vector<VECTOR>(gammas + channel, scale);
        load_vector<VECTOR>(betas + channel, beta);
#pragma unroll
        EACH scale[i] *= rstd(variance[i], epsilon);
    }

    __device__ __forceinline__ float of(float x, int i) const { return (x - mean[i]) * scale[i] + beta[i]; }
};

// Writes two sums of each channel: out [parts, 2, channels].
__device__ __forceinline__ void write_sums(
    const Place& own, int channels, const float (&first)[VECTOR], const float (&second)[VECTOR], float* out) {
    __shared__ float shared[2][GROUPS][LANES * VECTOR];
#pragma unroll
    EACH {
        int at = (int)threadIdx.x % LANES * VECTOR + i;
        shared[0][own.group][at] = first[i];
        shared[1][own.group][at] = second[i];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * LANES * VECTOR; i += THREADS) {
        int which = i / (LANES * VECTOR), at = i % (LANES * VECTOR), channel = (int)blockIdx.x * (LANES * VECTOR) + at;
        float sum = 0.0f;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) sum += shared[which][g][at];
        if (channel < channels) out[((u64)blockIdx.y * 2 + which) * channels + channel] = sum;
    }
}

// Of x - shift and of its square.
KERNEL __launch_bounds__(256) moments(int rows, int channels, int part, const FROM* x, const float* shift, float* out) {
    Place own(rows, part);
    float first[VECTOR], second[VECTOR];
#pragma unroll
    EACH first[i] = second[i] = 0.0f;
    if (own.channel < channels) {
        float by[VECTOR];
        load_vector<VECTOR>(shift + own.channel, by);
#pragma unroll 4
        for (int row = own.begin; row < own.end; row += GROUPS) {
            float values[VECTOR];
            load_vector<VECTOR>(x + (u64)row * channels + own.channel, values);
#pragma unroll
            EACH {
                float moved = values[i] - by[i];
                first[i] += moved;
                second[i] += moved * moved;
            }
        }
    }
    write_sums(own, channels, first, second, out);
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
    int rows, int channels, int part, float epsilon, const FROM* x, const float* gamma, const float* beta, const float* mean,
    const float* variance, const TO* residual, TO* y) {
    Place own(rows, part);
    if (own.channel >= channels) return;
    Normal normal(own.channel, epsilon, gamma, beta, mean, variance);
#pragma unroll 4
    for (int row = own.begin; row < own.end; row += GROUPS) {
        u64 at = (u64)row * channels + own.channel;
        float values[VECTOR], other[VECTOR];
        load_vector<VECTOR>(x + at, values);
        if constexpr (RESIDUAL != 0) load_vector<VECTOR>(residual + at, other);
#pragma unroll
        EACH {
            float value = normal.of(values[i], i);
            if constexpr (RESIDUAL == 2) value += other[i];
            value = activation(value);
            if constexpr (RESIDUAL == 1) value += other[i];
            values[i] = value;
        }
        store_vector<VECTOR>(y + at, values);
    }
}

// The gradients of gamma and of beta.
KERNEL __launch_bounds__(256, 2) gradient_sums(
    int rows, int channels, int part, float epsilon, const GRADIENT* dy, const FROM* x, const float* gamma, const float* beta,
    const float* mean, const float* variance, float* out) {
    Place own(rows, part);
    float first[VECTOR], second[VECTOR];
#pragma unroll
    EACH first[i] = second[i] = 0.0f;
    if (own.channel < channels) {
        Normal normal(own.channel, epsilon, gamma, beta, mean, variance);
#pragma unroll 2
        for (int row = own.begin; row < own.end; row += GROUPS) {
            u64 at = (u64)row * channels + own.channel;
            float gradients[VECTOR], values[VECTOR];
            load_vector<VECTOR>(dy + at, gradients);
            load_vector<VECTOR>(x + at, values);
#pragma unroll
            EACH {
                float dz = gradients[i] * slope(normal.of(values[i], i));
                first[i] += dz * (values[i] - normal.mean[i]);
                second[i] += dz;
            }
        }
        float spread[VECTOR];
        load_vector<VECTOR>(variance + own.channel, spread);
#pragma unroll
        EACH first[i] *= rstd(spread[i], epsilon);
    }
    write_sums(own, channels, first, second, out);
}

// The gradient of x. `share` is one by how many numbers were summed, or 0 for statistics that are not the batch's.
KERNEL __launch_bounds__(256, 2) gradient(
    int rows, int channels, int part, float epsilon, float share, const GRADIENT* dy, const FROM* x, const float* gamma,
    const float* beta, const float* mean, const float* variance, const float* dgamma, const float* dbeta, TO* dx) {
    Place own(rows, part);
    if (own.channel >= channels) return;
    Normal normal(own.channel, epsilon, gamma, beta, mean, variance);
    // dx = scale (dz - dbeta share - (x - mean) rstd dgamma share)
    float of_mean[VECTOR], of_slope[VECTOR], spread[VECTOR];
    load_vector<VECTOR>(dbeta + own.channel, of_mean);
    load_vector<VECTOR>(dgamma + own.channel, of_slope);
    load_vector<VECTOR>(variance + own.channel, spread);
#pragma unroll
    EACH {
        of_mean[i] *= share;
        of_slope[i] *= share * rstd(spread[i], epsilon);
    }
#pragma unroll 2
    for (int row = own.begin; row < own.end; row += GROUPS) {
        u64 at = (u64)row * channels + own.channel;
        float gradients[VECTOR], values[VECTOR];
        load_vector<VECTOR>(dy + at, gradients);
        load_vector<VECTOR>(x + at, values);
#pragma unroll
        EACH {
            float dz = gradients[i] * slope(normal.of(values[i], i));
            values[i] = normal.scale[i] * (dz - of_mean[i] - (values[i] - normal.mean[i]) * of_slope[i]);
        }
        store_vector<VECTOR>(dx + at, values);
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
