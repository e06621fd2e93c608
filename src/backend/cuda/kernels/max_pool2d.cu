// The maximum over windows of an image, [batch, height, width, channels], and its gradient.
// Definitions: FROM, TO types of the input and of the result; GRADIENT the type of dy. One thread an element.
#include "common.cuh"
#include "windows.cuh"

#ifndef GRADIENT
#define GRADIENT FROM
#endif

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
