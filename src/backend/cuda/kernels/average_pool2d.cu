// The mean over windows of an image, [batch, height, width, channels], and its gradient. What lies beside the image is in
// no mean. Definitions: FROM, TO types of the input and of the result; VECTOR channels of a thread.
#include "common.cuh"
#include "windows.cuh"

#define EACH for (int k = 0; k < VECTOR; k++)

KERNEL __launch_bounds__(256) forward(u32 count, WINDOWS, const FROM* x, TO* y) {
    Windows down = ROWS, across = COLUMNS;
    u32 runs = channels / VECTOR;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 window = i / runs;
        int column = window % columns, row = window / columns % rows;
        const FROM* from = x + window / columns / rows * height * width * channels + i % runs * VECTOR;
        float sums[VECTOR];
#pragma unroll
        EACH sums[k] = 0.0f;
        for (int r = down.first(row); r < down.end(row); r++) {
            for (int c = across.first(column); c < across.end(column); c++) {
                float values[VECTOR];
                load_vector<VECTOR>(from + (r * width + c) * channels, values);
#pragma unroll
                EACH sums[k] += values[k];
            }
        }
        float pixels = (float)((down.end(row) - down.first(row)) * (across.end(column) - across.first(column)));
#pragma unroll
        EACH sums[k] /= pixels;
        store_vector<VECTOR>(y + i * VECTOR, sums);
    }
}

KERNEL __launch_bounds__(256) backward(u32 count, WINDOWS, const FROM* dy, TO* dx) {
    Windows down = ROWS, across = COLUMNS;
    u32 runs = channels / VECTOR;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 pixel = i / runs, image = pixel / width / height;
        int column = pixel % width, row = pixel / width % height;
        const FROM* gradient = dy + image * rows * columns * channels + i % runs * VECTOR;
        float sums[VECTOR];
#pragma unroll
        EACH sums[k] = 0.0f;
        for (int r = down.first_of(row); r < down.end_of(row); r++) {
            for (int c = across.first_of(column); c < across.end_of(column); c++) {
                float pixels = (float)((down.end(r) - down.first(r)) * (across.end(c) - across.first(c)));
                float slopes[VECTOR];
                load_vector<VECTOR>(gradient + (r * columns + c) * channels, slopes);
#pragma unroll
                EACH sums[k] += slopes[k] / pixels;
            }
        }
        store_vector<VECTOR>(dx + i * VECTOR, sums);
    }
}
