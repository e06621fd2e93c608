// Convolutions of images, [batch, height, width, channels]: the patches under the windows as the rows of a matrix, which
// products take, and what is added up where patches came from.
// Definitions: FROM, TO types of the input and of the result; VECTOR elements that are moved at once.
#include "common.cuh"
#include "windows.cuh"

#ifndef VECTOR
#define VECTOR 1
#endif

// The patches of a group of `own` channels that begin with `first`: [windows, taps * own]. A thread for each run of VECTOR
// channels.
KERNEL __launch_bounds__(256) patches(u32 count, WINDOWS, int first, int own, const FROM* x, TO* out) {
    Windows down = ROWS, across = COLUMNS;
    int runs = own / VECTOR;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 taps = i / runs, window = taps / (pool_rows * pool_columns);
        int tap = taps % (pool_rows * pool_columns);
        int column = window % columns, row = window / columns % rows;
        int y = down.place(row, tap / pool_columns), across_at = across.place(column, tap % pool_columns);
        float values[VECTOR];
#pragma unroll
        for (int k = 0; k < VECTOR; k++) values[k] = 0.0f;
        if (y >= 0 && y < height && across_at >= 0 && across_at < width) {
            u64 pixel = ((u64)(window / columns / rows) * height + y) * width + across_at;
            load_vector<VECTOR>(x + pixel * channels + first + i % runs * VECTOR, values);
        }
        store_vector<VECTOR>(out + (u64)i * VECTOR, values);
    }
}

// The transpose of it: each element of a group is the sum of what the patches, [windows, taps * own], have of it.
KERNEL __launch_bounds__(256) spread(u32 count, WINDOWS, int first, int own, const FROM* patches, TO* x) {
    Windows down = ROWS, across = COLUMNS;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 pixel = i / own, image = pixel / width / height;
        int channel = i % own, column = pixel % width, row = pixel / width % height;
        float sum = 0.0f;
        for (int r = 0; r < pool_rows; r++) {
            int window = down.window_of(row, r);
            if (window < 0) continue;
            for (int c = 0; c < pool_columns; c++) {
                int beside = across.window_of(column, c);
                if (beside < 0) continue;
                u64 patch = ((u64)image * rows + window) * columns + beside;
                sum += load(patches[(patch * pool_rows * pool_columns + r * pool_columns + c) * own + channel]);
            }
        }
        store(x[(u64)pixel * channels + first + channel], sum);
    }
}
