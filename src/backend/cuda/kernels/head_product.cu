// Products of the kernels of projections, head by head, by plain arithmetic. Definitions: TO, the type of the result; TERMS, one
// or two.
#include "common.cuh"

constexpr int TILE = 16;

// One term of a product: two matrices of each head that lie in tensors anywhere.
#define TERM(a, b, inner)                                                                                            \
    int inner, const float *__restrict__ a, u32 a##_head, u32 a##_row, u32 a##_inner, const float *__restrict__ b,   \
        u32 b##_head, u32 b##_inner, u32 b##_column

// Adds a term to a block's tile of the result, of which each thread has one element.
__device__ __forceinline__ void add_term(float& sum, float (&left)[TILE][TILE + 1], float (&right)[TILE][TILE + 1], int row,
                                         int rows, int column, int columns, TERM(a, b, inner)) {
    int own_row = (int)threadIdx.x / TILE, own_column = (int)threadIdx.x % TILE;
    a += (u64)blockIdx.y * a_head;
    b += (u64)blockIdx.y * b_head;
    for (int start = 0; start < inner; start += TILE) {
        int l = start + own_column, k = start + own_row;
        left[own_row][own_column] = row < rows && l < inner ? a[row * a_row + l * a_inner] : 0.0f;
        right[own_row][own_column] = k < inner && column < columns ? b[k * b_inner + column * b_column] : 0.0f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++) sum += left[own_row][i] * right[i][own_column];
        __syncthreads();
    }
}

// c[h, i, j] = sum over l of a[h, i, l] b[h, l, j], and with TERMS 2 of another such pair. A block makes a
// tile of 16 x 16 of head blockIdx.y; its number is blockIdx.x, row by row.
KERNEL __launch_bounds__(256) product(int rows, int columns, TO* __restrict__ c, u32 c_head, u32 c_row, u32 c_column, TERM(a, b, inner)
#if TERMS == 2
                                      , TERM(d, e, other)
#endif
) {
    __shared__ float left[TILE][TILE + 1], right[TILE][TILE + 1];
    int across = (columns + TILE - 1) / TILE;
    int row = (int)blockIdx.x / across * TILE + (int)threadIdx.x / TILE;
    int column = (int)blockIdx.x % across * TILE + (int)threadIdx.x % TILE;
    float sum = 0.0f;
    add_term(sum, left, right, row, rows, column, columns, inner, a, a_head, a_row, a_inner, b, b_head, b_inner, b_column);
#if TERMS == 2
    add_term(sum, left, right, row, rows, column, columns, other, d, d_head, d_row, d_inner, e, e_head, e_inner, e_column);
#endif
    if (row < rows && column < columns) store(c[(u64)blockIdx.y * c_head + row * c_row + column * c_column], sum);
}
