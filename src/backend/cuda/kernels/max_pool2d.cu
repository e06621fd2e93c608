// The maximum over windows of an image, [batch, height, width, channels], and its gradient.
// Definitions: FROM, TO types of the input and of the result; GRADIENT the type of dy; VECTOR channels of a thread.
#include "common.cuh"
#include "windows.cuh"

#ifndef GRADIENT
#define GRADIENT FROM
#endif

#define EACH for (int k = 0; k < VECTOR; k++)

KERNEL __launch_bounds__(256) forward(u32 count, WINDOWS, const FROM* x, TO* y) {
    Windows down = ROWS, across = COLUMNS;
    u32 runs = channels / VECTOR;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 window = i / runs;
        int column = window % columns, row = window / columns % rows;
        const FROM* from = x + window / columns / rows * height * width * channels + i % runs * VECTOR;
        float largest[VECTOR];
#pragma unroll
        EACH largest[k] = NEGATIVE_INFINITY;
        for (int r = down.first(row); r < down.end(row); r++) {
            for (int c = across.first(column); c < across.end(column); c++) {
                float values[VECTOR];
                load_vector<VECTOR>(from + (r * width + c) * channels, values);
                // What is not a number stays.
#pragma unroll
                EACH if (largest[k] < values[k] || values[k] != values[k]) largest[k] = values[k];
            }
        }
        store_vector<VECTOR>(y + i * VECTOR, largest);
    }
}

// An element has the gradient of each window whose first maximum it is, row by row.
KERNEL __launch_bounds__(256) backward(u32 count, WINDOWS, const GRADIENT* dy, const FROM* x, TO* dx) {
    Windows down = ROWS, across = COLUMNS;
    u32 runs = channels / VECTOR;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 pixel = i / runs, channel = i % runs * VECTOR, image = pixel / width / height;
        int column = pixel % width, row = pixel / width % height;
        const FROM* from = x + image * height * width * channels + channel;
        const GRADIENT* gradient = dy + image * rows * columns * channels + channel;
        float own[VECTOR], sums[VECTOR];
        load_vector<VECTOR>(x + i * VECTOR, own);
#pragma unroll
        EACH sums[k] = 0.0f;
        for (int down_at = down.first_of(row); down_at < down.end_of(row); down_at++) {
            for (int across_at = across.first_of(column); across_at < across.end_of(column); across_at++) {
                // Bit k: channel k has no larger number in this window, and none as large before.
                u32 largest = (1u << VECTOR) - 1;
#pragma unroll 1
                for (int r = down.first(down_at); r < down.end(down_at); r++) {
#pragma unroll 1
                    for (int c = across.first(across_at); c < across.end(across_at); c++) {
                        float others[VECTOR];
                        load_vector<VECTOR>(from + (r * width + c) * channels, others);
                        bool before = r < row || (r == row && c < column);
#pragma unroll
                        EACH if (before ? others[k] >= own[k] : others[k] > own[k]) largest &= ~(1u << k);
                    }
                }
                float slopes[VECTOR];
                load_vector<VECTOR>(gradient + (down_at * columns + across_at) * channels, slopes);
#pragma unroll
                EACH if (largest >> k & 1) sums[k] += slopes[k];
            }
        }
        store_vector<VECTOR>(dx + i * VECTOR, sums);
    }
}
