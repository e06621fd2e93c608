// Convolutions of each channel by itself, of images [batch, height, width, channels]: kernel [taps, channels].
// Definitions: FROM, TO types of the input and of the result; VECTOR channels of a thread; LANES threads, of a block's 256, side
// by side along the channels; POOL_ROWS, POOL_COLUMNS, the kernel's size; STRIDE_ROWS, STRIDE_COLUMNS; BIAS; ADDED (another
// tensor is added to the result); MIRRORED (taps from the last to the first).
//
// A thread keeps its channels, and their taps in registers. Windows without gaps, one place apart, slide: a thread goes along the rows of
// the result, keeps the inputs under the window in registers too, and loads each input once for each row of the kernel. Other
// windows gather their inputs one by one.
#include "common.cuh"
#include "windows.cuh"

#ifndef BIAS
#define BIAS 0
#endif
#ifndef ADDED
#define ADDED 0
#endif
#ifndef MIRRORED
#define MIRRORED 0
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
    for (int tap = 0; tap < TAPS; tap++) {
        load_vector<VECTOR>(kernel + (MIRRORED ? TAPS - 1 - tap : tap) * channels + channel, to[tap]);
    }
}

#define EACH for (int i = 0; i < VECTOR; i++)

// The rows of the input under one row of the result.
struct Strip {
    const FROM* from[POOL_ROWS];
    bool inside[POOL_ROWS];
    int width, channels;

    __device__ __forceinline__ Strip(const FROM* image, int first, int height, int width, int channels)
        : width(width), channels(channels) {
#pragma unroll
        for (int r = 0; r < POOL_ROWS; r++) {
            inside[r] = first + r >= 0 && first + r < height;
            from[r] = image + (inside[r] ? (first + r) * width * channels : 0);
        }
    }

    __device__ __forceinline__ void load(int r, int column, float (&to)[VECTOR]) const {
#pragma unroll
        EACH to[i] = 0.0f;
        if (inside[r] && column >= 0 && column < width) load_vector<VECTOR>(from[r] + column * channels, to);
    }
};

// Calls visit(column, step, held) for each column of the result: held[r][(step + c) % POOL_COLUMNS] is the input under tap (r, c).
template <typename Visit>
__device__ __forceinline__ void slide_along(const Strip& strip, int columns, int before, Visit visit) {
    float held[POOL_ROWS][POOL_COLUMNS][VECTOR];
#pragma unroll
    for (int c = 0; c < POOL_COLUMNS - 1; c++) {
#pragma unroll
        for (int r = 0; r < POOL_ROWS; r++) strip.load(r, c - before, held[r][c]);
    }
    for (int start = 0; start < columns; start += POOL_COLUMNS) {
        // All loads first: they are under way together.
        float fresh[POOL_ROWS][POOL_COLUMNS][VECTOR];
#pragma unroll
        for (int step = 0; step < POOL_COLUMNS; step++) {
#pragma unroll
            for (int r = 0; r < POOL_ROWS; r++) {
                strip.load(r, start + step + POOL_COLUMNS - 1 - before, fresh[r][step]);
            }
        }
#pragma unroll
        for (int step = 0; step < POOL_COLUMNS; step++) {
#pragma unroll
            for (int r = 0; r < POOL_ROWS; r++) {
#pragma unroll
                EACH held[r][(step + POOL_COLUMNS - 1) % POOL_COLUMNS][i] = fresh[r][step][i];
            }
            if (start + step < columns) visit(start + step, step, held);
        }
    }
}

// The convolution, to which `other` is added; with mirrored taps the gradient of the input of one.
KERNEL __launch_bounds__(256, 2) slide(
    int images, WINDOWS, const FROM* x, const float* __restrict__ kernel, const float* __restrict__ bias, const TO* other,
    TO* y) {
    Place own;
    if (own.channel >= channels) return;
    float weights[TAPS][VECTOR], offset[VECTOR];
    taps(kernel, channels, own.channel, weights);
#pragma unroll
    EACH offset[i] = 0.0f;
    if constexpr (BIAS) load_vector<VECTOR>(bias + own.channel, offset);
    for (int line = (int)blockIdx.y * GROUPS + own.group; line < images * rows; line += (int)gridDim.y * GROUPS) {
        const FROM* image = x + (u64)(line / rows) * height * width * channels + own.channel;
        u64 at = (u64)line * columns * channels + own.channel;
        Strip strip(image, line % rows - before_rows, height, width, channels);
        slide_along(strip, columns, before_columns, [&](int column, int step, const float (&held)[POOL_ROWS][POOL_COLUMNS][VECTOR]) {
            float sums[VECTOR];
#pragma unroll
            EACH sums[i] = offset[i];
            if constexpr (ADDED) load_vector<VECTOR>(other + at + column * channels, sums);
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++) {
#pragma unroll
                EACH sums[i] += held[tap / POOL_COLUMNS][(step + tap) % POOL_COLUMNS][i] * weights[tap][i];
            }
            store_vector<VECTOR>(y + at + column * channels, sums);
        });
    }
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

// Writes the sums of all groups: out [gridDim.y, taps, channels].
__device__ __forceinline__ void write_taps(const Place& own, int channels, const float (&sums)[TAPS][VECTOR], float* out) {
    __shared__ float shared[GROUPS][LANES * VECTOR];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
#pragma unroll
        EACH shared[own.group][(int)threadIdx.x % LANES * VECTOR + i] = sums[tap][i];
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

// The gradient of the kernel of windows that slide, of the lines of blockIdx.y: out [gridDim.y, taps, channels].
KERNEL __launch_bounds__(256, 2) slide_kernel_gradient(int images, WINDOWS, const FROM* x, const TO* dy, float* out) {
    Place own;
    float sums[TAPS][VECTOR];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
#pragma unroll
        EACH sums[tap][i] = 0.0f;
    }
    int lines = own.channel < channels ? images * rows : 0;
    for (int line = (int)blockIdx.y * GROUPS + own.group; line < lines; line += (int)gridDim.y * GROUPS) {
        const FROM* image = x + (u64)(line / rows) * height * width * channels + own.channel;
        const TO* gradient = dy + (u64)line * columns * channels + own.channel;
        Strip strip(image, line % rows - before_rows, height, width, channels);
        slide_along(strip, columns, before_columns, [&](int column, int step, const float (&held)[POOL_ROWS][POOL_COLUMNS][VECTOR]) {
            float slope[VECTOR];
            load_vector<VECTOR>(gradient + column * channels, slope);
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++) {
#pragma unroll
                EACH sums[tap][i] += held[tap / POOL_COLUMNS][(step + tap) % POOL_COLUMNS][i] * slope[i];
            }
        });
    }
    write_taps(own, channels, sums, out);
}

// The gradient of its kernel, of the images of blockIdx.y: out [gridDim.y, taps, channels].
KERNEL __launch_bounds__(256, 2) kernel_gradient(int images, WINDOWS, const FROM* x, const TO* dy, float* out) {
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
    write_taps(own, channels, sums, out);
}
