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

// VECTOR elements as they lie in memory: those that are under way take the fewest registers.
template <typename T> struct Raw {
    static constexpr int BYTES = VECTOR * (int)sizeof(T), WORDS = (BYTES + 3) / 4;
    u32 word[WORDS];

    __device__ __forceinline__ void load(const T* from, bool wanted) {
#pragma unroll
        for (int i = 0; i < WORDS; i++) word[i] = 0;
        if (!wanted) return;
        if constexpr (BYTES == 16) {
            Words words = *reinterpret_cast<const Words*>(from);
#pragma unroll
            for (int i = 0; i < 4; i++) word[i] = words.word[i];
        } else if constexpr (BYTES == 8) {
            Pair pair = *reinterpret_cast<const Pair*>(from);
            word[0] = pair.word[0], word[1] = pair.word[1];
        } else if constexpr (BYTES == 4) {
            word[0] = *reinterpret_cast<const u32*>(from);
        } else {
            word[0] = *reinterpret_cast<const u16*>(from);
        }
    }

    __device__ __forceinline__ void unpack_to(float (&to)[VECTOR]) const {
#pragma unroll
        EACH {
            if constexpr (sizeof(T) == 4) to[i] = __uint_as_float(word[i]);
            else to[i] = __uint_as_float(i % 2 ? word[i / 2] & 0xFFFF0000u : word[i / 2] << 16);
        }
    }
};

using Held = float[POOL_ROWS][POOL_COLUMNS][VECTOR];

// The rows of the input under one row of the result, from column to column.
struct Strip {
    const FROM* next[POOL_ROWS];
    bool inside[POOL_ROWS];
    int column, width, channels;

    __device__ __forceinline__ Strip(const FROM* image, int row, int column, int height, int width, int channels)
        : column(column), width(width), channels(channels) {
#pragma unroll
        for (int r = 0; r < POOL_ROWS; r++) {
            inside[r] = row + r >= 0 && row + r < height;
            next[r] = image + ((row + r) * width + column) * channels;
        }
    }

    // Sends for the next column.
    __device__ __forceinline__ void fetch(Raw<FROM> (&to)[POOL_ROWS]) {
        bool there = (u32)column < (u32)width;
#pragma unroll
        for (int r = 0; r < POOL_ROWS; r++) {
            to[r].load(next[r], there && inside[r]);
            next[r] += channels;
        }
        column++;
    }
};

// Calls visit(column, step, held, beside) for each column of the result: held[r][(step + c) % POOL_COLUMNS] is the input under tap
// (r, c), and `beside` what a row of a tensor like the result has there; nothing without BESIDE.
template <bool BESIDE, typename Visit>
__device__ __forceinline__ void slide_along(Strip strip, int columns, const TO* row, Visit visit) {
    Held held;
#pragma unroll
    for (int c = 0; c < POOL_COLUMNS - 1; c++) {
        Raw<FROM> raw[POOL_ROWS];
        strip.fetch(raw);
#pragma unroll
        for (int r = 0; r < POOL_ROWS; r++) raw[r].unpack_to(held[r][c]);
    }
    // So many columns ahead are under way while one is worked on.
    Raw<FROM> fresh[POOL_COLUMNS][POOL_ROWS];
    Raw<TO> beside[POOL_COLUMNS];
    auto fetch = [&](int column, int step) {
        strip.fetch(fresh[step]);
        if constexpr (BESIDE) {
            beside[step].load(row, column < columns);
            row += strip.channels;
        }
    };
#pragma unroll
    for (int step = 0; step < POOL_COLUMNS; step++) fetch(step, step);
#pragma unroll 1
    for (int start = 0; start < columns; start += POOL_COLUMNS) {
#pragma unroll
        for (int step = 0; step < POOL_COLUMNS; step++) {
            float others[VECTOR];
#pragma unroll
            for (int r = 0; r < POOL_ROWS; r++) fresh[step][r].unpack_to(held[r][(step + POOL_COLUMNS - 1) % POOL_COLUMNS]);
            if constexpr (BESIDE) beside[step].unpack_to(others);
            fetch(start + step + POOL_COLUMNS, step);
            if (start + step < columns) visit(step, held, others);
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
        TO* to = y + at;
        Strip strip(image, line % rows - before_rows, -before_columns, height, width, channels);
        slide_along<ADDED>(strip, columns, other + at, [&](int step, const Held& held, const float (&added)[VECTOR]) {
            float sums[VECTOR];
#pragma unroll
            EACH sums[i] = ADDED ? added[i] : offset[i];
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++) {
#pragma unroll
                EACH sums[i] += held[tap / POOL_COLUMNS][(step + tap) % POOL_COLUMNS][i] * weights[tap][i];
            }
            store_vector<VECTOR>(to, sums);
            to += channels;
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
#pragma unroll 1
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
        Strip strip(image, line % rows - before_rows, -before_columns, height, width, channels);
        slide_along<true>(strip, columns, gradient, [&](int step, const Held& held, const float (&slope)[VECTOR]) {
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
