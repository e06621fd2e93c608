// The softmax of rows as they come, and dropout of its weights, for heads in shared memory: what the
// forward and backward passes of attention share. Definitions: as of mma.cuh; TOKENS, SOURCES, HEADS,
// SCALE; DROPOUT; DIAGONAL if no token meets itself; KEY_STEP and DOUT_STEP, elements from one head to the
// next of what all may share: keys, and the gradient of the output.
//
// Which weights dropout keeps has been drawn by masks.cu: `kept` [batch, heads, S / 16, T], where T and S are TOKENS and
// SOURCES up to a multiple of 16, has the bits of 16 sources for each token.
#pragma once
#include "mma.cuh"

#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef DIAGONAL
#define DIAGONAL 0
#endif

constexpr int ALL_TOKENS = (TOKENS + 15) / 16 * 16, ALL_SOURCES = (SOURCES + 15) / 16 * 16;

// The words of a head's 16 sources from `source` on.
__device__ __forceinline__ u64 kept_words(u64 head, int source) {
    return (head * (ALL_SOURCES / 16) + source / 16) * ALL_TOKENS;
}

// Which weights of a lane's rows stay, g and g + 8 of the warp's rows from `row` on.
struct Stays {
    const u16* own;
    u32 words[2];

    // Rows that are not there have those of others: nothing comes of them.
    __device__ __forceinline__ Stays(const u16* kept, u64 head, int row)
        : own(kept + kept_words(head, 0) + (row < ALL_TOKENS ? row : 0) + (int)threadIdx.x % 32 / 4) {}

    // Those of the 16 sources from `source` on.
    __device__ __forceinline__ void read(int source) {
#pragma unroll
        for (int i = 0; i < 2; i++) words[i] = DROPOUT ? own[source / 16 * ALL_TOKENS + 8 * i] : 0;
    }

    // Weights [16, 16] of a warp's rows: those of the first eight sources, and of the others. What all that stay are multiplied by
    // comes in the end.
    __device__ __forceinline__ void drop(float (&low)[4], float (&high)[4]) const {
        int t = (int)threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 bits = words[i / 2] >> (2 * t + i % 2);
            low[i] = bits & 1 ? low[i] : 0.0f;
            high[i] = bits & 256 ? high[i] : 0.0f;
        }
    }

    // The same weights as a left operand, of which no element is negative: those that do not stay get a sign.
    __device__ __forceinline__ void mark(u32 (&a)[4]) const {
        int t = (int)threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 bits = ~words[i % 2] >> (2 * t + i / 2 * 8);
            a[i] |= (bits & 1) << 15 | (bits & 2) << 30;
        }
    }
};

// Exponentials are relative to one score of their row: the largest of the first sources. Only a score that is larger by more than this
// many powers of two replaces it, for then all sums are multiplied anew. The total is relative to the same score, so the
// quotient is exact (Dao et al., FlashAttention-4, 2025).
constexpr float MOST_EXPONENT = 8.0f;

// The softmax of a warp's 16 rows so far, times values: rows g and g + 8 of a lane.
struct Rows {
    float sums[VALUES / 8][4];
    // What exponentials are relative to, and their sum.
    float reference[2], total[2];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int n = 0; n < VALUES / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) sums[n][i] = 0;
        }
        reference[0] = reference[1] = NEGATIVE_INFINITY;
        total[0] = total[1] = 0;
    }

    // Scores of the sources from `start` on become exponentials; the warp's tokens are those from `row` on.
    template <int COUNT> __device__ __forceinline__ void meet(float (&c)[COUNT][4], int start, int row) {
        int t = (int)threadIdx.x % 4;
#if DIAGONAL
        int g = (int)threadIdx.x % 32 / 4;
#pragma unroll
        for (int n = 0; n < COUNT; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (start + 8 * n + 2 * t + i % 2 == row + g + i / 2 * 8) c[n][i] = NEGATIVE_INFINITY;
            }
        }
#endif
        if (SOURCES % 16 != 0 || start + 8 * COUNT > SOURCES) {
#pragma unroll
            for (int n = 0; n < COUNT; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    if (start + 8 * n + 2 * t + i % 2 >= SOURCES) c[n][i] = NEGATIVE_INFINITY;
                }
            }
        }
        float now[2];
        bool beyond = false;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            now[i] = reference[i];
#pragma unroll
            for (int n = 0; n < COUNT; n++) now[i] = fmaxf(now[i], fmaxf(c[n][2 * i], c[n][2 * i + 1]));
            now[i] = quad_max(now[i]);
            beyond |= (now[i] - reference[i]) * SCALE_LOG2 > MOST_EXPONENT;
        }
        if (__any_sync(0xFFFFFFFFu, beyond)) move(now);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float offset = reference[i] * SCALE_LOG2;
#pragma unroll
            for (int n = 0; n < COUNT; n++) {
#pragma unroll
                for (int j = 2 * i; j < 2 * i + 2; j++) {
                    c[n][j] = exp2_approximate(c[n][j] * SCALE_LOG2 - offset);
                    total[i] += c[n][j];
                }
            }
        }
    }

    // What has been summed up becomes relative to these scores.
    __device__ __forceinline__ void move(const float (&now)[2]) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float factor = exp2_approximate((reference[i] - now[i]) * SCALE_LOG2);
            reference[i] = now[i];
            total[i] *= factor;
#pragma unroll
            for (int n = 0; n < VALUES / 8; n++) {
                sums[n][2 * i] *= factor;
                sums[n][2 * i + 1] *= factor;
            }
        }
    }

    // The factors that make means of the sums, with what dropout multiplies by; `logsum` receives the base-2 logarithm of each row's sum of
    // exponentials.
    __device__ __forceinline__ void finish(float (&factors)[2], float keep_scale, float* __restrict__ logsum, int row) {
        int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            total[i] = quad_sum(total[i]);
            factors[i] = keep_scale / total[i];
            int at = row + g + 8 * i;
            if (t == 0 && at < TOKENS) logsum[at] = reference[i] * SCALE_LOG2 + log2f(total[i]);
        }
    }
};

// Weights of 16 rows times 16 sources of values, after dropout.
__device__ __forceinline__ void add_values(Rows& rows, float (&low)[4], float (&high)[4], const bf16* values, int plane,
                                           const Stays& stays) {
    if constexpr (DROPOUT) stays.drop(low, high);
    times<VALUES>(rows.sums, low, high, values, plane);
}

// The sum over a row of out dout, by two lanes that both receive it; 0 if the row is not there.
__device__ __forceinline__ float row_product(const ACT* __restrict__ out, const ACT* __restrict__ dout, bool there) {
    float sum = 0;
    if (there) {
        for (int c = (int)threadIdx.x % 2 * VECTOR; c < VALUE_DIM; c += 2 * VECTOR) {
            float a[VECTOR], b[VECTOR];
            load_vector<VECTOR>(out + c, a);
            load_vector<VECTOR>(dout + c, b);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) sum += a[i] * b[i];
        }
    }
    return sum + __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
}

// From a transposed tile, whose rows g and g + 8 are sources and whose columns are the tokens from `first` on: the scores
// c and the gradients d of the weights become the gradients of the scores, and the weights after dropout, both without what dropout
// multiplies by: that comes in the end, and `delta` has been divided by it.
__device__ __forceinline__ void differentiate(float (&c)[2][4], float (&d)[2][4], const float* logsum, const float* delta,
                                              const u16* kept, int source, int first) {
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int n = 0; n < 2; n++) {
#if DROPOUT
        u32 words = *reinterpret_cast<const u32*>(kept + 8 * n + 2 * t);
#endif
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int token = 8 * n + 2 * t + i % 2;
            float weight = exp2_approximate(c[n][i] * SCALE_LOG2 - logsum[token]);
            if (SOURCES % 16 != 0 && source + g + i / 2 * 8 >= SOURCES) weight = 0;
            if (DIAGONAL && first + token == source + g + i / 2 * 8) weight = 0;
            float dropped = weight, grad = d[n][i];
#if DROPOUT
            bool stays = words >> (16 * (i % 2) + i / 2 * 8 + g) & 1;
            dropped = stays ? weight : 0.0f;
            grad = stays ? grad : 0.0f;
#endif
            c[n][i] = weight * (grad - delta[token]);
            d[n][i] = dropped;
        }
    }
}
