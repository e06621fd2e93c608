// One step of an optimizer on all parameters in one launch.
// Definitions: STATES tensors that it changes, the parameter first; SCALARS numbers of the step that it reads; UPDATE
// the rule, from x0, x1, .. (the parameter, the gradient, the other tensors, the numbers) to y0, y1, .. (the tensors);
// CLIPPED whether the last number is *clip, by which gradients are multiplied; DIRECTION of a rule for matrices, to y0,
// y1, .. the direction and the tensors but for the parameter.
#include "common.cuh"

#ifndef STATES
#define STATES 1
#define SCALARS 1
#define CLIPPED 0
#endif

#ifndef UPDATE
#define UPDATE const float x0 = state[0]; float y0 = x0; state[0] = y0;
#endif

#ifndef DIRECTION
#define DIRECTION const float x1 = gradient; float y0 = x1; gradient = y0;
#endif

// Up to `count` consecutive elements of one parameter. `shadow`, if any, is its copy for matmuls.
struct Chunk {
    float* states[4];
    const float* gradient;
    bf16* shadow;
    u64 count;
    u64 first_scalar;
};

__device__ __forceinline__ void update(const float (&scalars)[SCALARS], float gradient, float (&state)[STATES]) { UPDATE }

#if CLIPPED
#define CLIP_PARAMETER , const float* clip
#define CLIP_ARGUMENT , clip
#else
#define CLIP_PARAMETER
#define CLIP_ARGUMENT
#endif

// The numbers of the step that a chunk reads.
__device__ __forceinline__ void read_scalars(float (&scalars)[SCALARS], const Chunk& chunk, const StepState* at CLIP_PARAMETER) {
#pragma unroll
    for (int i = 0; i < SCALARS - CLIPPED; i++) scalars[i] = at->scalars[chunk.first_scalar + i];
#if CLIPPED
    scalars[SCALARS - 1] = *clip;
#endif
}

// A block for each chunk. Where *stop is not zero, nothing changes.
KERNEL __launch_bounds__(256) step(const Chunk* __restrict__ chunks, const StepState* at, const u32* stop CLIP_PARAMETER) {
    if (*stop != 0) return;
    Chunk chunk = chunks[blockIdx.x];
    float scalars[SCALARS];
    read_scalars(scalars, chunk, at CLIP_ARGUMENT);
    // Rows of one parameter between rows of others may begin anywhere.
    u64 whole = ((u64)chunk.states[0] | (u64)chunk.gradient) % 16 == 0 ? chunk.count / 4 * 4 : 0;
    for (u64 i = threadIdx.x * 4; i < whole; i += 256 * 4) {
        float g[4], states[STATES][4];
        load_vector<4>(chunk.gradient + i, g);
#pragma unroll
        for (int k = 0; k < STATES; k++) load_vector<4>(chunk.states[k] + i, states[k]);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float state[STATES];
#pragma unroll
            for (int k = 0; k < STATES; k++) state[k] = states[k][j];
            update(scalars, g[j], state);
#pragma unroll
            for (int k = 0; k < STATES; k++) states[k][j] = state[k];
        }
#pragma unroll
        for (int k = 0; k < STATES; k++) store_vector<4>(chunk.states[k] + i, states[k]);
        if (chunk.shadow) {
            u32* pairs = reinterpret_cast<u32*>(chunk.shadow + i);
            pairs[0] = pack_bf16(states[0][0], states[0][1]);
            pairs[1] = pack_bf16(states[0][2], states[0][3]);
        }
    }
    for (u64 i = whole + threadIdx.x; i < chunk.count; i += 256) {
        float state[STATES];
#pragma unroll
        for (int k = 0; k < STATES; k++) state[k] = chunk.states[k][i];
        update(scalars, chunk.gradient[i], state);
#pragma unroll
        for (int k = 0; k < STATES; k++) chunk.states[k][i] = state[k];
        if (chunk.shadow) store(chunk.shadow[i], state[0]);
    }
}

__device__ __forceinline__ void direct(const float (&scalars)[SCALARS], float& gradient, float (&state)[STATES]) { DIRECTION }

// The tensors but for the parameter, and in place of the gradient what is to be made orthogonal.
KERNEL __launch_bounds__(256) direction(const Chunk* __restrict__ chunks, const StepState* at, const u32* stop CLIP_PARAMETER) {
    if (*stop != 0) return;
    Chunk chunk = chunks[blockIdx.x];
    float scalars[SCALARS];
    read_scalars(scalars, chunk, at CLIP_ARGUMENT);
    float* gradients = const_cast<float*>(chunk.gradient);
    for (u64 i = threadIdx.x; i < chunk.count; i += 256) {
        float state[STATES];
#pragma unroll
        for (int k = 1; k < STATES; k++) state[k] = chunk.states[k][i];
        float gradient = gradients[i];
        direct(scalars, gradient, state);
#pragma unroll
        for (int k = 1; k < STATES; k++) chunk.states[k][i] = state[k];
        gradients[i] = gradient;
    }
}

// The shadows alone: for parameters that the host has set.
KERNEL __launch_bounds__(256) shadow(const Chunk* __restrict__ chunks) {
    Chunk chunk = chunks[blockIdx.x];
    if (!chunk.shadow) return;
    for (u64 i = threadIdx.x; i < chunk.count; i += 256) store(chunk.shadow[i], chunk.states[0][i]);
}
