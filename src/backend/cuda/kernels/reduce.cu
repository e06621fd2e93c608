// Sums of columns in two stages, and the search for values that are not finite. Definitions: IN the
// input's type; VECTOR elements moved at once; LANES threads, of a block's 256, side by side along a
// row.
#include "common.cuh"

constexpr int THREADS = 256;
constexpr int GROUPS = THREADS / LANES;

// out[c, j] = the sum of x[i, j] over the rows i of chunk c: c `chunk` to (c + 1) `chunk`. Blocks:
// (column tiles, chunks).
KERNEL __launch_bounds__(256) sum_rows(int rows, int columns, int chunk, const IN* __restrict__ x, float* __restrict__ out) {
    int lane = (int)threadIdx.x % LANES, group = (int)threadIdx.x / LANES;
    int column = ((int)blockIdx.x * LANES + lane) * VECTOR;
    int first = (int)blockIdx.y * chunk, end = min(rows, first + chunk);
    float sums[VECTOR];
#pragma unroll
    for (int i = 0; i < VECTOR; i++) sums[i] = 0;
    if (column < columns) {
#pragma unroll 4
        for (int row = first + group; row < end; row += GROUPS) {
            float values[VECTOR];
            load_vector<VECTOR>(x + (u64)row * columns + column, values);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) sums[i] += values[i];
        }
    }
    __shared__ float shared[GROUPS][LANES * VECTOR + 1];
#pragma unroll
    for (int i = 0; i < VECTOR; i++) shared[group][lane * VECTOR + i] = sums[i];
    __syncthreads();
    for (int i = threadIdx.x; i < LANES * VECTOR; i += THREADS) {
        int at = (int)blockIdx.x * (LANES * VECTOR) + i;
        if (at < columns) {
            float sum = 0;
#pragma unroll
            for (int g = 0; g < GROUPS; g++) sum += shared[g][i];
            out[(u64)blockIdx.y * columns + at] = sum;
        }
    }
}

// Sets *found to 1 if an element is infinite or not a number, else leaves it.
KERNEL __launch_bounds__(256) find_bad(u64 count, const IN* __restrict__ x, u32* found) {
    bool bad = false;
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < count; i += (u64)gridDim.x * THREADS) {
        bad |= (__float_as_uint(load(x[i])) & 0x7F800000u) == 0x7F800000u;
    }
    if (bad) *found = 1;
}
