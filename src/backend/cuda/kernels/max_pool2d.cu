// The maximum over windows of an image, [batch, height, width, channels], and its gradient.
// Definitions: FROM, TO types of the input and of the result; GRADIENT the type of dy. One thread an element.
#include "common.cuh"

#ifndef GRADIENT
#define GRADIENT FROM
#endif

constexpr int THREADS = 256;

// Along one axis: windows of `pool` places, `stride` apart, of which the first begins `before` places beside the input.
struct Windows {
    int length, pool, stride, count, before;

    __device__ __forceinline__ int first(int window) const { return max(window * stride - before, 0); }
    __device__ __forceinline__ int end(int window) const { return min(window * stride - before + pool, length); }
    // The windows that a place is in.
    __device__ __forceinline__ int first_of(int place) const {
        int beyond = place + before - pool;
        return beyond < 0 ? 0 : beyond / stride + 1;
    }
    __device__ __forceinline__ int end_of(int place) const { return min((place + before) / stride + 1, count); }
};

#define ROWS Windows{height, pool_rows, stride_rows, rows, before_rows}
#define COLUMNS Windows{width, pool_columns, stride_columns, columns, before_columns}
#define WINDOWS                                                                                                       \
    int channels, int height, int pool_rows, int stride_rows, int rows, int before_rows, int width, int pool_columns, \
        int stride_columns, int columns, int before_columns

KERNEL __launch_bounds__(256) forward(u32 count, WINDOWS, const FROM* x, TO* y) {
    Windows down = ROWS, across = COLUMNS;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 window = i / channels;
        int column = window % columns, row = window / columns % rows;
        const FROM* from = x + window / columns / rows * height * width * channels + i % channels;
        float largest = NEGATIVE_INFINITY;
        for (int r = down.first(row); r < down.end(row); r++) {
            for (int c = across.first(column); c < across.end(column); c++) {
                float value = load(from[(r * width + c) * channels]);
                // What is not a number stays.
                if (largest < value || value != value) largest = value;
            }
        }
        store(y[i], largest);
    }
}

// An element has the gradient of each window whose first maximum it is, row by row.
KERNEL __launch_bounds__(256) backward(u32 count, WINDOWS, const GRADIENT* dy, const FROM* x, TO* dx) {
    Windows down = ROWS, across = COLUMNS;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 pixel = i / channels, channel = i % channels, image = pixel / width / height;
        int column = pixel % width, row = pixel / width % height;
        const FROM* from = x + image * height * width * channels + channel;
        const GRADIENT* gradient = dy + image * rows * columns * channels + channel;
        float own = load(x[i]), sum = 0.0f;
        for (int down_at = down.first_of(row); down_at < down.end_of(row); down_at++) {
            for (int across_at = across.first_of(column); across_at < across.end_of(column); across_at++) {
                bool largest = true;
#pragma unroll 1
                for (int r = down.first(down_at); r < down.end(down_at); r++) {
#pragma unroll 1
                    for (int c = across.first(across_at); c < across.end(across_at); c++) {
                        float other = load(from[(r * width + c) * channels]);
                        bool before = r < row || (r == row && c < column);
                        largest = largest && !(before ? other >= own : other > own);
                    }
                }
                if (largest) sum += load(gradient[(down_at * columns + across_at) * channels]);
            }
        }
        store(dx[i], sum);
    }
}
