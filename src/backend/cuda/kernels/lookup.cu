// Tensors of the elements of a table, and the gradient of the table. Definitions: FROM, TO types of the input and of the
// result; TIMES that each element is repeated in a row, or of relative positions GRID_ROWS, GRID_COLUMNS, SKIPPED
// tokens in front of these, HEADS, and DIAGONAL if a token and itself are left out. One thread an element.
#include "common.cuh"

constexpr int THREADS = 256;

#ifdef TIMES
__device__ __forceinline__ float looked_up(const FROM* table, u32 i) { return load(table[i / TIMES]); }

__device__ __forceinline__ float summed(const FROM* dy, u32 i) {
    float sum = 0.0f;
    for (u32 j = 0; j < TIMES; j++) sum += load(dy[i * TIMES + j]);
    return sum;
}
#else
constexpr int GRID = GRID_ROWS * GRID_COLUMNS, TOKENS = SKIPPED + GRID, WIDTH = 2 * GRID_COLUMNS - 1;
// Behind these rows: of tokens in front and the grid, of the grid and those, of those and themselves.
constexpr int OFFSETS = (2 * GRID_ROWS - 1) * WIDTH;

__device__ __forceinline__ float looked_up(const FROM* table, u32 element) {
    int head = element / TOKENS / TOKENS, i = element / TOKENS % TOKENS, j = element % TOKENS;
    if (DIAGONAL && i == j) return LEFT_OUT;
    if (i < SKIPPED || j < SKIPPED) {
        int row = OFFSETS + (i >= SKIPPED ? 1 : j >= SKIPPED ? 0 : 2);
        return load(table[row * HEADS + head]);
    }
    i -= SKIPPED, j -= SKIPPED;
    int down = i / GRID_COLUMNS - j / GRID_COLUMNS + GRID_ROWS - 1;
    int across = i % GRID_COLUMNS - j % GRID_COLUMNS + GRID_COLUMNS - 1;
    return load(table[(down * WIDTH + across) * HEADS + head]);
}

__device__ __forceinline__ float summed(const FROM* dy, u32 element) {
    int head = element % HEADS, offset = element / HEADS;
    float sum = 0.0f;
    if (SKIPPED > 0 && offset >= OFFSETS) {
        int region = offset - OFFSETS;
        int first_query = region == 1 ? SKIPPED : 0, last_query = region == 1 ? TOKENS : SKIPPED;
        int first_key = region == 0 ? SKIPPED : 0, last_key = region == 0 ? TOKENS : SKIPPED;
        for (int i = first_query; i < last_query; i++) {
            for (int j = first_key; j < last_key; j++) {
                if (!(DIAGONAL && i == j)) sum += load(dy[(u64)(head * TOKENS + i) * TOKENS + j]);
            }
        }
        return sum;
    }
    int down = offset / WIDTH - (GRID_ROWS - 1), across = offset % WIDTH - (GRID_COLUMNS - 1);
    for (int i = 0; i < GRID; i++) {
        int row = i / GRID_COLUMNS - down, column = i % GRID_COLUMNS - across;
        if (row < 0 || row >= GRID_ROWS || column < 0 || column >= GRID_COLUMNS) continue;
        int j = row * GRID_COLUMNS + column;
        if (DIAGONAL && i == j) continue;
        sum += load(dy[(u64)(head * TOKENS + SKIPPED + i) * TOKENS + SKIPPED + j]);
    }
    return sum;
}
#endif

KERNEL __launch_bounds__(256) forward(u32 count, const FROM* table, TO* y) {
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) store(y[i], looked_up(table, i));
}

KERNEL __launch_bounds__(256) backward(u32 count, const FROM* dy, TO* table) {
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) store(table[i], summed(dy, i));
}
