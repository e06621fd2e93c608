// The AdamW update of all parameters in one launch (Loshchilov & Hutter 2019; Keras' form).
#include "common.cuh"

// Up to `count` consecutive elements of one parameter. `shadow`, if any, is its copy for matmuls.
struct Chunk {
    float* parameter;
    const float* gradient;
    float* m;
    float* v;
    bf16* shadow;
    u64 count;
};

struct Rule {
    float decay, keep_1, keep_2, alpha, epsilon;
};

__device__ __forceinline__ void update(const Rule& rule, float g, float& w, float& m, float& v) {
    float decayed = w - w * rule.decay;
    m += (g - m) * rule.keep_1;
    v += (g * g - v) * rule.keep_2;
    w = decayed - m * rule.alpha / (sqrtf(v) + rule.epsilon);
}

// A block for each chunk. Where *stop is not zero, nothing changes.
KERNEL __launch_bounds__(256) adamw(const Chunk* __restrict__ chunks, const StepState* state, const u32* stop,
                                    float weight_decay, float keep_1, float keep_2, float epsilon) {
    if (*stop != 0) return;
    Chunk chunk = chunks[blockIdx.x];
    Rule rule = {state->learning_rate * weight_decay, keep_1, keep_2, state->alpha, epsilon};
    u64 whole = chunk.count / 4 * 4;
    for (u64 i = threadIdx.x * 4; i < whole; i += 256 * 4) {
        float g[4], w[4], m[4], v[4];
        load_vector<4>(chunk.gradient + i, g);
        load_vector<4>(chunk.parameter + i, w);
        load_vector<4>(chunk.m + i, m);
        load_vector<4>(chunk.v + i, v);
#pragma unroll
        for (int j = 0; j < 4; j++) update(rule, g[j], w[j], m[j], v[j]);
        store_vector<4>(chunk.parameter + i, w);
        store_vector<4>(chunk.m + i, m);
        store_vector<4>(chunk.v + i, v);
        if (chunk.shadow) {
            u32* pairs = reinterpret_cast<u32*>(chunk.shadow + i);
            pairs[0] = pack_bf16(w[0], w[1]);
            pairs[1] = pack_bf16(w[2], w[3]);
        }
    }
    u64 i = whole + threadIdx.x;
    if (i < chunk.count) {
        update(rule, chunk.gradient[i], chunk.parameter[i], chunk.m[i], chunk.v[i]);
        if (chunk.shadow) store(chunk.shadow[i], chunk.parameter[i]);
    }
}

// The shadows alone: for parameters that the host has set.
KERNEL __launch_bounds__(256) shadow(const Chunk* __restrict__ chunks) {
    Chunk chunk = chunks[blockIdx.x];
    if (!chunk.shadow) return;
    for (u64 i = threadIdx.x; i < chunk.count; i += 256) store(chunk.shadow[i], chunk.parameter[i]);
}
