// Convolutions of images, [batch, height, width, channels]: the patches under the windows as the rows of a matrix, which
// products take, what is added up where patches came from, and convolutions of each channel by itself.
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

#ifndef BIAS
#define BIAS 0
#endif

// A convolution of each channel by itself: kernel [taps, channels], bias [channels].
KERNEL __launch_bounds__(256) depthwise(u32 count, WINDOWS, const FROM* x, const float* kernel, const float* bias, TO* y) {
    Windows down = ROWS, across = COLUMNS;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 window = i / channels;
        int channel = i % channels, column = window % columns, row = window / columns % rows;
        const FROM* image = x + (u64)(window / columns / rows) * height * width * channels + channel;
        float sum = BIAS ? bias[channel] : 0.0f;
        for (int r = 0; r < pool_rows; r++) {
            int at = down.place(row, r);
            if (at < 0 || at >= height) continue;
            for (int c = 0; c < pool_columns; c++) {
                int beside = across.place(column, c);
                if (beside < 0 || beside >= width) continue;
                float value = load(image[(at * width + beside) * channels]);
                sum += value * kernel[(r * pool_columns + c) * channels + channel];
            }
        }
        store(y[i], sum);
    }
}

// The gradient of its input.
KERNEL __launch_bounds__(256) depthwise_input(u32 count, WINDOWS, const FROM* dy, const float* kernel, TO* dx) {
    Windows down = ROWS, across = COLUMNS;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 pixel = i / channels, image = pixel / width / height;
        int channel = i % channels, column = pixel % width, row = pixel / width % height;
        const FROM* gradient = dy + (u64)image * rows * columns * channels + channel;
        float sum = 0.0f;
        for (int r = 0; r < pool_rows; r++) {
            int window = down.window_of(row, r);
            if (window < 0) continue;
            for (int c = 0; c < pool_columns; c++) {
                int beside = across.window_of(column, c);
                if (beside < 0) continue;
                float value = load(gradient[(window * columns + beside) * channels]);
                sum += value * kernel[(r * pool_columns + c) * channels + channel];
            }
        }
        store(dx[i], sum);
    }
}

constexpr int LANES = 32;
constexpr int GROUPS = THREADS / LANES;

// The gradient of its kernel, of parts of `windows` windows: out [parts, taps, channels]. Blocks: (channel tiles, taps,
// parts).
KERNEL __launch_bounds__(256) depthwise_kernel(
    int windows, int part, WINDOWS, const FROM* x, const TO* dy, float* out) {
    Windows down = ROWS, across = COLUMNS;
    int lane = (int)threadIdx.x % LANES, group = (int)threadIdx.x / LANES;
    int channel = (int)blockIdx.x * LANES + lane, tap = (int)blockIdx.y;
    int begin = (int)blockIdx.z * part, end = min(windows, begin + part);
    float sum = 0.0f;
    if (channel < channels) {
        for (int window = begin + group; window < end; window += GROUPS) {
            int column = window % columns, row = window / columns % rows;
            int at = down.place(row, tap / pool_columns), beside = across.place(column, tap % pool_columns);
            if (at < 0 || at >= height || beside < 0 || beside >= width) continue;
            u64 pixel = ((u64)(window / columns / rows) * height + at) * width + beside;
            sum += load(x[pixel * channels + channel]) * load(dy[(u64)window * channels + channel]);
        }
    }
    __shared__ float shared[GROUPS][LANES];
    shared[group][lane] = sum;
    __syncthreads();
    if (group == 0 && channel < channels) {
        for (int g = 1; g < GROUPS; g++) sum += shared[g][lane];
        out[((u64)blockIdx.z * gridDim.y + tap) * channels + channel] = sum;
    }
}
