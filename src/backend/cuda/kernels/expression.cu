// Any pointwise function: y = f(x0, x1, ..), element by element. The definitions are made of the function and its
// operands: PARAMETERS of the kernel, MASKS that they are drawn from, LOADS that read VECTOR elements of operand n from
// element i of the result on into vn, FORMALS, ACTUALS and BODY of f; RESULT, the type of y.
#include "common.cuh"

constexpr int THREADS = 256;

__device__ __forceinline__ float function(FORMALS) { BODY }

// Of an operand that repeats after `period` elements, where vectors would lie across its end.
template <typename T> __device__ __forceinline__ void repeated(const T* from, u32 i, u32 period, float (&to)[VECTOR]) {
#pragma unroll
    for (int j = 0; j < VECTOR; j++) to[j] = load(from[(i + j) % period]);
}

// Of an operand that has `suffix` elements for each image, which repeat within it.
template <typename T>
__device__ __forceinline__ void by_image(const T* from, u32 i, u32 image, u32 suffix, float (&to)[VECTOR]) {
#pragma unroll
    for (int j = 0; j < VECTOR; j++) to[j] = load(from[(i + j) / image * suffix + (i + j) % image % suffix]);
}

// Factors of the elements from i on, whose VECTOR lie in one block of the mask.
__device__ __forceinline__ void drawn(const Mask& mask, float scale, u32 i, float (&to)[VECTOR]) {
    u32 kept = mask.kept(i / 8) >> (i % 8);
#pragma unroll
    for (int j = 0; j < VECTOR; j++) to[j] = kept >> j & 1 ? scale : 0.0f;
}

// Factors of their images.
__device__ __forceinline__ void drawn_by_image(const Mask& mask, float scale, u32 i, u32 image, float (&to)[VECTOR]) {
    u32 first = i / image, kept = mask.kept(first / 8);
#pragma unroll
    for (int j = 0; j < VECTOR; j++) {
        u32 at = (i + j) / image;
        if (at / 8 != first / 8) {
            first = at;
            kept = mask.kept(at / 8);
        }
        to[j] = kept >> (at % 8) & 1 ? scale : 0.0f;
    }
}

KERNEL __launch_bounds__(256) evaluate(u32 count, u32 image, PARAMETERS, RESULT* y) {
    MASKS
    for (u32 i = (blockIdx.x * THREADS + threadIdx.x) * VECTOR; i < count; i += gridDim.x * THREADS * VECTOR) {
        LOADS
        float values[VECTOR];
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = function(ACTUALS);
        store_vector<VECTOR>(y + i, values);
    }
}
