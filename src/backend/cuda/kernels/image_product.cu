// Products of matrices that lie in tensors anywhere: c[g, h, i, j] = sum over l of a[g, h, i, l] b[g, h, l, j], by plain
// arithmetic. Definitions: LEFT, RIGHT, TO types; HEADS. A block makes a tile of 16 x 16 of one product: its number among
// groups and heads is blockIdx.x, the tile's blockIdx.y, row by row.
#include "common.cuh"

constexpr int TILE = 16;

// From one group, head, row and column to the next.
#define STRIDES(name) u32 name##_group, u32 name##_head, u32 name##_row, u32 name##_column

KERNEL __launch_bounds__(256)
    product(int rows, int columns, int inner, const LEFT* a, STRIDES(a), const RIGHT* b, STRIDES(b), TO* c, STRIDES(c)) {
    __shared__ float left[TILE][TILE + 1], right[TILE][TILE + 1];
    int own_row = (int)threadIdx.x / TILE, own_column = (int)threadIdx.x % TILE;
    int across = (columns + TILE - 1) / TILE;
    int row = (int)blockIdx.y / across * TILE + own_row, column = (int)blockIdx.y % across * TILE + own_column;
    u32 group = blockIdx.x / HEADS, head = blockIdx.x % HEADS;
    a += (u64)group * a_group + head * a_head;
    b += (u64)group * b_group + head * b_head;
    c += (u64)group * c_group + head * c_head;
    float sum = 0.0f;
    for (int start = 0; start < inner; start += TILE) {
        int l = start + own_column, k = start + own_row;
        left[own_row][own_column] = row < rows && l < inner ? load(a[row * a_row + l * a_column]) : 0.0f;
        right[own_row][own_column] = k < inner && column < columns ? load(b[k * b_row + column * b_column]) : 0.0f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++) sum += left[own_row][i] * right[i][own_column];
        __syncthreads();
    }
    if (row < rows && column < columns) store(c[row * c_row + column * c_column], sum);
}
