// Convolutions of each channel by itself, of images [batch, height, width, channels]: kernel [taps, channels].
// Definitions: FROM, TO types of the input and of the result; VECTOR channels of a thread; LANES threads, of a block's 256, side
// by side along the channels; POOL_ROWS, POOL_COLUMNS, the kernel's size; STRIDE_ROWS, STRIDE_COLUMNS; BIAS; ADDED (another
// tensor is added to the result).
//
// A thread keeps its channels, and their taps in registers, and goes from window to window of the images blockIdx.y,
// blockIdx.y + gridDim.y, ..: windows side by side read each input from the first-level cache but once.
#include "common.cuh"
#include "windows.cuh"

#ifndef BIAS
#define BIAS 0
#endif
#ifndef ADDED
#define ADDED 0
#endif

constexpr int TAPS = POOL_ROWS * POOL_COLUMNS;
constexpr int GROUPS = THREADS / LANES;

// Threads of a group share a window.
struct Place {
    int group, channel;

    __device__ __forceinline__ Place()
        : group((int)threadIdx.x / LANES), channel(((int)blockIdx.x * LANES + (int)threadIdx.x % LANES) * VECTOR) {}
};

// The window that has a place as this tap, below 0 if there is none; it may lie beyond the last.
template <int STRIDE> __device__ __forceinline__ int window_of(int place, int tap, int dilation, int before) {
    int from = place + before - tap * dilation;
    if constexpr (STRIDE == 1) return from;
    return from >= 0 && from % STRIDE == 0 ? from / STRIDE : -1;
}

__device__ __forceinline__ void taps(const float* kernel, int channels, int channel, float (&to)[TAPS][VECTOR]) {
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) load_vector<VECTOR>(kernel + tap * channels + channel, to[tap]);
}

KERNEL __launch_bounds__(256)
    forward(int images, WINDOWS, const FROM* x, const float* __restrict__ kernel, const float* __restrict__ bias, TO* y) {
    Place own;
    if (own.channel >= channels) return;
    float weights[TAPS][VECTOR], offset[VECTOR];
    taps(kernel, channels, own.channel, weights);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) offset[i] = 0.0f;
    if constexpr (BIAS) load_vector<VECTOR>(bias + own.channel, offset);
    for (int image = blockIdx.y; image < images; image += gridDim.y) {
        const FROM* from = x + (u64)image * height * width * channels + own.channel;
        TO* to = y + (u64)image * rows * columns * channels + own.channel;
        for (int window = own.group; window < rows * columns; window += GROUPS) {
            int top = window / columns * STRIDE_ROWS - before_rows, left = window % columns * STRIDE_COLUMNS - before_columns;
            float sums[VECTOR];
#pragma unroll
            for (int i = 0; i < VECTOR; i++) sums[i] = offset[i];
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++) {
                int row = top + tap / POOL_COLUMNS * dilation_rows, column = left + tap % POOL_COLUMNS * dilation_columns;
                if (row < 0 || row >= height || column < 0 || column >= width) continue;
                float values[VECTOR];
                load_vector<VECTOR>(from + (row * width + column) * channels, values);
#pragma unroll
                for (int i = 0; i < VECTOR; i++) sums[i] += values[i] * weights[tap][i];
            }
            store_vector<VECTOR>(to + window * channels, sums);
        }
    }
}

// The gradient of its input, to which `other` is added.
KERNEL __launch_bounds__(256)
    input_gradient(int images, WINDOWS, const FROM* dy, const float* __restrict__ kernel, const TO* other, TO* dx) {
    Place own;
    if (own.channel >= channels) return;
    float weights[TAPS][VECTOR];
    taps(kernel, channels, own.channel, weights);
    for (int image = blockIdx.y; image < images; image += gridDim.y) {
        const FROM* from = dy + (u64)image * rows * columns * channels + own.channel;
        u64 start = (u64)image * height * width * channels + own.channel;
        for (int pixel = own.group; pixel < height * width; pixel += GROUPS) {
            int row = pixel / width, column = pixel % width;
            float sums[VECTOR];
#pragma unroll
            for (int i = 0; i < VECTOR; i++) sums[i] = 0.0f;
            if constexpr (ADDED) load_vector<VECTOR>(other + start + pixel * channels, sums);
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++) {
                int window = window_of<STRIDE_ROWS>(row, tap / POOL_COLUMNS, dilation_rows, before_rows);
                int beside = window_of<STRIDE_COLUMNS>(column, tap % POOL_COLUMNS, dilation_columns, before_columns);
                if (window < 0 || window >= rows || beside < 0 || beside >= columns) continue;
                float values[VECTOR];
                load_vector<VECTOR>(from + (window * columns + beside) * channels, values);
#pragma unroll
                for (int i = 0; i < VECTOR; i++) sums[i] += values[i] * weights[tap][i];
            }
            store_vector<VECTOR>(dx + start + pixel * channels, sums);
        }
    }
}

// The gradient of its kernel, of the images of blockIdx.y: out [gridDim.y, taps, channels].
KERNEL __launch_bounds__(256) kernel_gradient(int images, WINDOWS, const FROM* x, const TO* dy, float* out) {
    Place own;
    float sums[TAPS][VECTOR];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) sums[tap][i] = 0.0f;
    }
    for (int image = blockIdx.y; image < images && own.channel < channels; image += gridDim.y) {
        const FROM* from = x + (u64)image * height * width * channels + own.channel;
        const TO* gradient = dy + (u64)image * rows * columns * channels + own.channel;
        for (int window = own.group; window < rows * columns; window += GROUPS) {
            int top = window / columns * STRIDE_ROWS - before_rows, left = window % columns * STRIDE_COLUMNS - before_columns;
            float slope[VECTOR];
            load_vector<VECTOR>(gradient + window * channels, slope);
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++) {
                int row = top + tap / POOL_COLUMNS * dilation_rows, column = left + tap % POOL_COLUMNS * dilation_columns;
                if (row < 0 || row >= height || column < 0 || column >= width) continue;
                float values[VECTOR];
                load_vector<VECTOR>(from + (row * width + column) * channels, values);
#pragma unroll
                for (int i = 0; i < VECTOR; i++) sums[tap][i] += values[i] * slope[i];
            }
        }
    }
    __shared__ float shared[GROUPS][LANES * VECTOR];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) shared[own.group][(int)threadIdx.x % LANES * VECTOR + i] = sums[tap][i];
        __syncthreads();
        for (int i = threadIdx.x; i < LANES * VECTOR; i += THREADS) {
            int channel = (int)blockIdx.x * (LANES * VECTOR) + i;
            float sum = 0.0f;
#pragma unroll
            for (int g = 0; g < GROUPS; g++) sum += shared[g][i];
            if (channel < channels) out[((u64)blockIdx.y * TAPS + tap) * channels + channel] = sum;
        }
        __syncthreads();
    }
}
