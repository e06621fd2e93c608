// Layer normalisation of rows. Definitions: ACT the activations' type; WIDTH of a row; VECTOR
// elements moved at once; GROUP threads that share a row, a power of two up to 32 or the whole block.
#include "common.cuh"

#ifndef RESIDUAL
#define RESIDUAL 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif

constexpr int THREADS = 256;
constexpr int ROWS = THREADS / GROUP;
// Vectors that a thread holds.
constexpr int PARTS = (WIDTH + GROUP * VECTOR - 1) / (GROUP * VECTOR);

__device__ __forceinline__ int column(int part) { return (part * GROUP + (int)threadIdx.x % GROUP) * VECTOR; }

// The sum over the threads of a row, in each of them.
__device__ __forceinline__ float group_sum(float value) {
#pragma unroll
    for (int offset = (GROUP < 32 ? GROUP : 32) / 2; offset > 0; offset /= 2)
        value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
    if constexpr (GROUP > 32) {
        __shared__ float sums[THREADS / 32];
        __syncthreads();
        if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
        __syncthreads();
        value = 0;
#pragma unroll
        for (int i = 0; i < THREADS / 32; i++) value += sums[i];
    }
    return value;
}

// y = (x - mean) rstd gamma + beta. With RESIDUAL, x is first replaced by x + dropout(b + bias), which
// is kept in `sum`.
KERNEL __launch_bounds__(256) forward(int rows, float epsilon, const ACT* __restrict__ x, const ACT* __restrict__ b,
                                      const float* __restrict__ bias, DROPOUT_PARAMETERS_AND_BITS, ACT* __restrict__ sum,
                                      const float* __restrict__ gamma, const float* __restrict__ beta,
                                      ACT* __restrict__ y, float* __restrict__ mean, float* __restrict__ rstd) {
    int row = (int)blockIdx.x * ROWS + (int)threadIdx.x / GROUP;
    // All threads of a warp stay for its shuffles; those past the last row see an empty one.
    int width = row < rows ? WIDTH : 0;
    u64 start = (u64)row * WIDTH;
    float values[PARTS][VECTOR];
    float total = 0;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        int at = column(part);
        if (at < width) {
            load_vector<VECTOR>(x + start + at, values[part]);
#if RESIDUAL
            float added[VECTOR];
            load_vector<VECTOR>(b + start + at, added);
#if BIAS
            float offset[VECTOR];
            load_vector<VECTOR>(bias + at, offset);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) added[i] += offset[i];
#endif
#if DROPOUT
            Mask mask = DROPOUT_MASK;
            u32 kept = kept_of<DROPOUT>(mask, kept_bytes, start + at);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) added[i] *= kept >> i & 1 ? keep_scale : 0.0f;
#endif
#pragma unroll
            for (int i = 0; i < VECTOR; i++) values[part][i] = rounded<ACT>(values[part][i] + added[i]);
            store_vector<VECTOR>(sum + start + at, values[part]);
#endif
#pragma unroll
            for (int i = 0; i < VECTOR; i++) total += values[part][i];
        }
    }
    float m = group_sum(total) * (1.0f / WIDTH);
    float squares = 0;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        if (column(part) < width) {
#pragma unroll
            for (int i = 0; i < VECTOR; i++) squares += (values[part][i] - m) * (values[part][i] - m);
        }
    }
    float r = reciprocal_sqrt(group_sum(squares) * (1.0f / WIDTH) + epsilon);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        int at = column(part);
        if (at < width) {
            float scale[VECTOR], shift[VECTOR];
            load_vector<VECTOR>(gamma + at, scale);
            load_vector<VECTOR>(beta + at, shift);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) scale[i] = (values[part][i] - m) * r * scale[i] + shift[i];
            store_vector<VECTOR>(y + start + at, scale);
        }
    }
    if (row < rows && threadIdx.x % GROUP == 0) {
        mean[row] = m;
        rstd[row] = r;
    }
}

// With g = dy gamma and n = (x - mean) rstd: dx = rstd (g - mean(g) - n mean(g n)), and `added` to it if
// given. Each block leaves its sums of dy n and dy, [2, WIDTH], in `partials`.
KERNEL __launch_bounds__(256) backward(int rows, const ACT* __restrict__ dy, const ACT* __restrict__ x,
                                       const float* __restrict__ gamma, const float* __restrict__ mean,
                                       const float* __restrict__ rstd, const ACT* added, ACT* dx,
                                       float* __restrict__ partials) {
    float dgamma[PARTS][VECTOR], dbeta[PARTS][VECTOR];
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) dgamma[part][i] = dbeta[part][i] = 0;
    }
    for (int first = (int)blockIdx.x * ROWS; first < rows; first += (int)gridDim.x * ROWS) {
        int row = first + (int)threadIdx.x / GROUP;
        int width = row < rows ? WIDTH : 0;
        u64 start = (u64)row * WIDTH;
        float m = row < rows ? mean[row] : 0, r = row < rows ? rstd[row] : 0;
        float g[PARTS][VECTOR], normal[PARTS][VECTOR];
        float sum = 0, product = 0;
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            int at = column(part);
            if (at < width) {
                float scale[VECTOR];
                load_vector<VECTOR>(dy + start + at, g[part]);
                load_vector<VECTOR>(x + start + at, normal[part]);
                load_vector<VECTOR>(gamma + at, scale);
#pragma unroll
                for (int i = 0; i < VECTOR; i++) {
                    normal[part][i] = (normal[part][i] - m) * r;
                    dgamma[part][i] += g[part][i] * normal[part][i];
                    dbeta[part][i] += g[part][i];
                    g[part][i] *= scale[i];
                    sum += g[part][i];
                    product += g[part][i] * normal[part][i];
                }
            }
        }
        sum = group_sum(sum) * (1.0f / WIDTH);
        product = group_sum(product) * (1.0f / WIDTH);
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            int at = column(part);
            if (at < width) {
                float other[VECTOR];
#pragma unroll
                for (int i = 0; i < VECTOR; i++) other[i] = 0;
                if (added) load_vector<VECTOR>(added + start + at, other);
#pragma unroll
                for (int i = 0; i < VECTOR; i++) other[i] += r * (g[part][i] - sum - normal[part][i] * product);
                store_vector<VECTOR>(dx + start + at, other);
            }
        }
    }
    // Rows side by side in a warp first.
#pragma unroll
    for (int offset = GROUP; offset < 32; offset *= 2) {
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
#pragma unroll
            for (int i = 0; i < VECTOR; i++) {
                dgamma[part][i] += __shfl_xor_sync(0xFFFFFFFFu, dgamma[part][i], offset);
                dbeta[part][i] += __shfl_xor_sync(0xFFFFFFFFu, dbeta[part][i], offset);
            }
        }
    }
    if constexpr (ROWS == 1) {
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            int at = column(part);
            if (at < WIDTH) {
                store_vector<VECTOR>(partials + (u64)blockIdx.x * (2 * WIDTH) + at, dgamma[part]);
                store_vector<VECTOR>(partials + (u64)blockIdx.x * (2 * WIDTH) + WIDTH + at, dbeta[part]);
            }
        }
    } else {
        // Then the warps of a block, one after the other.
        __shared__ float sums[2][WIDTH];
        for (int warp = 0; warp < THREADS / 32; warp++) {
            if ((int)threadIdx.x / 32 == warp && threadIdx.x % 32 < GROUP) {
#pragma unroll
                for (int part = 0; part < PARTS; part++) {
                    int at = column(part);
                    if (at < WIDTH) {
#pragma unroll
                        for (int i = 0; i < VECTOR; i++) {
                            sums[0][at + i] = warp == 0 ? dgamma[part][i] : sums[0][at + i] + dgamma[part][i];
                            sums[1][at + i] = warp == 0 ? dbeta[part][i] : sums[1][at + i] + dbeta[part][i];
                        }
                    }
                }
            }
            __syncthreads();
        }
        for (int i = threadIdx.x; i < 2 * WIDTH; i += THREADS)
            partials[(u64)blockIdx.x * (2 * WIDTH) + i] = sums[i / WIDTH][i % WIDTH];
    }
}
