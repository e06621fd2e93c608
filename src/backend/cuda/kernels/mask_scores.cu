// Masks of scores: src/graph/ops/mask_scores.rs says what they are. Definitions: FROM, TO types of the input and of the
// result; LEFT_OUT, what is added to the diagonal. One thread an element.
#include "common.cuh"

constexpr int THREADS = 256;

// x [.., tokens, tokens].
KERNEL __launch_bounds__(256) mask_diagonal(u32 count, u32 tokens, const FROM* __restrict__ x, TO* __restrict__ y) {
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        bool diagonal = i / tokens % tokens == i % tokens;
        store(y[i], load(x[i]) + (diagonal ? LEFT_OUT : 0.0f));
    }
}

// Whether a token of the window comes from the other end of the image, along both axes.
__device__ __forceinline__ u32 beyond(u32 token, bool last_row, bool last_column, u32 height, u32 width, u32 down, u32 across) {
    bool below = last_row && token / width + down >= height;
    bool beside = last_column && token % width + across >= width;
    return (below ? 2 : 0) + (beside ? 1 : 0);
}

// x [batch, rows, columns, heads, tokens, tokens].
KERNEL __launch_bounds__(256) mask_windows(u32 count, u32 rows, u32 columns, u32 heads, u32 height, u32 width, u32 down,
                                           u32 across, const FROM* __restrict__ x, TO* __restrict__ y) {
    u32 tokens = height * width;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 query = i / tokens % tokens, key = i % tokens, window = i / tokens / tokens / heads;
        bool last_row = window / columns % rows + 1 == rows, last_column = window % columns + 1 == columns;
        u32 of_query = beyond(query, last_row, last_column, height, width, down, across);
        u32 of_key = beyond(key, last_row, last_column, height, width, down, across);
        store(y[i], load(x[i]) + (of_query == of_key ? 0.0f : -100.0f));
    }
}
