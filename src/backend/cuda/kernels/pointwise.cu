// Element by element: y = residual + dropout(f(x + bias)), its gradient, sums and scalings.
// Definitions: ACT the activations' type; VECTOR elements moved at once, 8 or 1; ACTIVATION and SLOPE
// the bodies of f and its derivative, functions of x0; BIAS, DROPOUT, RESIDUAL, KEEP (the value of x + bias is stored); OTHER the type of the
// second operand of `add` and of the result of `scale`.
#include "common.cuh"

#ifndef ACTIVATION
#define ACTIVATION return x0;
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef RESIDUAL
#define RESIDUAL 0
#endif
#ifndef KEEP
#define KEEP 0
#endif
#ifndef OTHER
#define OTHER ACT
#endif

constexpr int THREADS = 256;

__device__ __forceinline__ float activation(float x0) { ACTIVATION }

#ifdef SLOPE
__device__ __forceinline__ float slope(float x0) { SLOPE }
#endif

// Factors of the elements from `first` on, whose VECTOR lie in one block of the mask.
__device__ __forceinline__ void drop(const Mask& mask, float keep_scale, u8* kept_bytes, u32 first, float (&values)[VECTOR]) {
    u32 kept = kept_of<DROPOUT>(mask, kept_bytes, first);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) values[i] = kept >> i & 1 ? values[i] * keep_scale : 0.0f;
}

// Tensors have fewer than 2^31 elements: division by 32 bits is much faster than by 64.
#define FOR_EACH_VECTOR(i, count)                                                                    \
    for (u32 i = (blockIdx.x * THREADS + threadIdx.x) * VECTOR; i < count; i += gridDim.x * THREADS * VECTOR)

// y = residual + dropout(f(z)), z = x + bias by columns of rows `width` wide.
KERNEL __launch_bounds__(256) forward(u32 count, u32 width, const ACT* x, const float* __restrict__ bias, ACT* kept,
                                      DROPOUT_PARAMETERS_AND_BITS, const ACT* residual, ACT* y) {
#if DROPOUT
    Mask mask = DROPOUT_MASK;
#endif
    FOR_EACH_VECTOR(i, count) {
        float values[VECTOR];
        load_vector<VECTOR>(x + i, values);
#if BIAS
        float offset[VECTOR];
        load_vector<VECTOR>(bias + i % width, offset);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] += offset[j];
#endif
#if KEEP
        store_vector<VECTOR>(kept + i, values);
#endif
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = activation(values[j]);
#if DROPOUT
        drop(mask, keep_scale, kept_bytes, i, values);
#endif
#if RESIDUAL
        float other[VECTOR];
        load_vector<VECTOR>(residual + i, other);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] += other[j];
#endif
        store_vector<VECTOR>(y + i, values);
    }
}

// dz = dropout(dy) f'(z).
KERNEL __launch_bounds__(256) backward(u32 count, const ACT* dy, const ACT* z, DROPOUT_PARAMETERS_AND_BITS, ACT* dz) {
#if DROPOUT
    Mask mask = DROPOUT_MASK;
#endif
    FOR_EACH_VECTOR(i, count) {
        float values[VECTOR];
        load_vector<VECTOR>(dy + i, values);
#if DROPOUT
        drop(mask, keep_scale, kept_bytes, i, values);
#endif
#ifdef SLOPE
        float at[VECTOR];
        load_vector<VECTOR>(z + i, at);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] *= slope(at[j]);
#endif
        store_vector<VECTOR>(dz + i, values);
    }
}

// y = a + b, where b repeats after `period` elements.
KERNEL __launch_bounds__(256) add(u32 count, u32 period, const ACT* a, const OTHER* b, ACT* y) {
    FOR_EACH_VECTOR(i, count) {
        float values[VECTOR], other[VECTOR];
        load_vector<VECTOR>(a + i, values);
        load_vector<VECTOR>(b + i % period, other);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] += other[j];
        store_vector<VECTOR>(y + i, values);
    }
}

// y = factor x.
KERNEL __launch_bounds__(256) scale(u32 count, float factor, const ACT* x, OTHER* y) {
    FOR_EACH_VECTOR(i, count) {
        float values[VECTOR];
        load_vector<VECTOR>(x + i, values);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] *= factor;
        store_vector<VECTOR>(y + i, values);
    }
}
