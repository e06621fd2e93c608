// The input pipeline: a batch of bytes, normalised, resized, mirrored and sampled, as `src/data` does it
// on the host, product by product (no fused multiply-adds). What is done to an image has been drawn on
// the host: WORDS words for each. Definitions: TO the type of the result; CHANNELS; WORDS; MIRRORED: the
// first word has mirrors; FILL: what stands outside of the image where it is sampled (`Fill`; 0: it is
// not sampled); AT: where the words of this pass begin; STAGED: the image fits shared memory; MIXED: `mix` follows, and
// writes the labels.
#include "common.cuh"

constexpr int THREADS = 256;

// Blends of one axis: position i of the output is low[i] + (high[i] - low[i]) weight[i].
struct Axis {
    const u32* words;
    int size;

    __device__ __forceinline__ int low(int i) const { return (int)words[i]; }
    __device__ __forceinline__ int high(int i) const { return (int)words[size + i]; }
    __device__ __forceinline__ float weight(int i) const { return __uint_as_float(words[2 * size + i]); }
};

__device__ __forceinline__ float blend(float low, float high, float weight) {
    return __fadd_rn(low, __fmul_rn(__fsub_rn(high, low), weight));
}

// What stands outside of an image, as `Fill` numbers it.
constexpr int REFLECT = 1, MIRROR = 2, NEAREST = 3, WRAP = 4, BLACK = 5;

// The pixel at position `at` of an axis; -1 where there is none.
__device__ __forceinline__ int place(int at, int size) {
    if ((u32)at < (u32)size) return at;
    int last = size - 1;
    if (FILL == NEAREST) return at < 0 ? 0 : last;
    if (FILL == REFLECT || FILL == MIRROR) {
        int period = FILL == REFLECT ? 2 * size : 2 * last;
        if (period == 0) return 0;
        int folded = at % period;
        if (folded < 0) folded += period;
        return folded < size ? folded : period - folded - (FILL == REFLECT);
    }
    if (FILL == WRAP) {
        int folded = at % size;
        return folded < 0 ? folded + size : folded;
    }
    return -1;
}

// Rows give the input's x and y from the output's (x, y, 1).
struct Affine {
    float x[3], y[3];
};

__device__ __forceinline__ float position(const float (&row)[3], int x, int y) {
    return __fadd_rn(__fadd_rn(__fmul_rn(row[0], (float)x), __fmul_rn(row[1], (float)y)), row[2]);
}

// The matrix of this pass.
__device__ __forceinline__ Affine matrix_of(const u32* __restrict__ drawn, u32 row) {
    Affine matrix;
    const u32* words = drawn + (u64)row * WORDS + AT;
#pragma unroll
    for (int i = 0; i < 3; i++) {
        matrix.x[i] = __uint_as_float(words[i]);
        matrix.y[i] = __uint_as_float(words[3 + i]);
    }
    return matrix;
}

// values = the bilinear sample of an image `at(values, row, column)` at the transformed position; `normal` is the
// table of bytes.
template <typename At>
__device__ __forceinline__ void sample(float (&values)[CHANNELS], const Affine& matrix, int x, int y, int height,
                                       int width, const float* __restrict__ normal, const At& at) {
    float from_x = position(matrix.x, x, y), from_y = position(matrix.y, x, y);
    float left = floorf(from_x), top = floorf(from_y);
    float across = __fsub_rn(from_x, left), down = __fsub_rn(from_y, top);
    int columns[2] = {place((int)left, width), place((int)left + 1, width)};
    int rows[2] = {place((int)top, height), place((int)top + 1, height)};
    float corners[2][2][CHANNELS];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float(&corner)[CHANNELS] = corners[i / 2][i % 2];
        int row = rows[i / 2], column = columns[i % 2];
        if (FILL < BLACK || (row >= 0 && column >= 0)) {
            at(corner, row, column);
        } else {
#pragma unroll
            for (int c = 0; c < CHANNELS; c++) corner[c] = FILL == BLACK ? normal[c * 256] : 0.0f;
        }
    }
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) {
        float upper = blend(corners[0][0][c], corners[0][1][c], across);
        float lower = blend(corners[1][0][c], corners[1][1][c], across);
        values[c] = blend(upper, lower, down);
    }
}

// The image of a block, resized and mirrored, pixel by pixel.
struct Resized {
    const u8* bytes;
    const float* normal;
    const float* staged;
    Axis rows, columns;
    int width;
    u32 mirrors;

    __device__ __forceinline__ float pixel(int row, int column, int channel) const {
        int at = (row * width + column) * CHANNELS + channel;
#if STAGED
        return staged[at];
#else
        return normal[channel * 256 + bytes[at]];
#endif
    }

    __device__ __forceinline__ void operator()(float (&values)[CHANNELS], int y, int x) const {
        if (mirrors & 1) x = columns.size - 1 - x;
        if (mirrors & 2) y = rows.size - 1 - y;
        int top = rows.low(y), bottom = rows.high(y), left = columns.low(x), right = columns.high(x);
        float down = rows.weight(y), across = columns.weight(x);
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) {
            float upper = blend(pixel(top, left, c), pixel(top, right, c), across);
            float lower = blend(pixel(bottom, left, c), pixel(bottom, right, c), across);
            values[c] = blend(upper, lower, down);
        }
    }
};

// Image blockIdx.y of the batch is number order[(position + blockIdx.y) / REPEATS] of the data: normalised by the
// table [CHANNELS, 256], resized from [height, width] to [new_height, new_width] by the blends after
// it, mirrored and sampled as drawn [count, WORDS] has it; and its label.
KERNEL __launch_bounds__(256)
    prepare(const u8* __restrict__ images, const u32* __restrict__ labels, const u32* __restrict__ order,
            const u32* __restrict__ tables, int height, int width, int new_height, int new_width, const StepState* state,
            const u32* __restrict__ drawn, TO* __restrict__ to, u32* __restrict__ to_labels) {
    u32 position = state->position + blockIdx.y, index = image_of(order, position), row = row_of(order, position);
    if (!MIXED && blockIdx.x == 0 && threadIdx.x == 0) to_labels[blockIdx.y] = labels[index];
    int bytes = height * width * CHANNELS;
    Resized image;
    image.bytes = images + (u64)index * bytes;
    image.normal = reinterpret_cast<const float*>(tables);
    image.rows = Axis{tables + CHANNELS * 256, new_height};
    image.columns = Axis{image.rows.words + 3 * new_height, new_width};
    image.width = width;
    image.mirrors = MIRRORED ? drawn[(u64)row * WORDS] : 0;
#if STAGED
    DYNAMIC_SHARED(memory);
    float* staged = reinterpret_cast<float*>(memory);
    for (int i = threadIdx.x; i < bytes; i += THREADS) staged[i] = image.normal[i % CHANNELS * 256 + image.bytes[i]];
    image.staged = staged;
    __syncthreads();
#endif
#if FILL
    Affine matrix = matrix_of(drawn, row);
#endif
    int pixels = new_height * new_width;
    for (int i = (int)blockIdx.x * THREADS + (int)threadIdx.x; i < pixels; i += (int)gridDim.x * THREADS) {
        float values[CHANNELS];
#if FILL
        sample(values, matrix, i % new_width, i / new_width, new_height, new_width, image.normal, image);
#else
        image(values, i / new_width, i % new_width);
#endif
        TO* target = to + ((u64)blockIdx.y * pixels + i) * CHANNELS;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) store(target[c], values[c]);
    }
}

struct Plain {
    const float* image;
    int width;

    __device__ __forceinline__ void operator()(float (&values)[CHANNELS], int y, int x) const {
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) values[c] = image[(y * width + x) * CHANNELS + c];
    }
};

// The batch that the pass before left, sampled again.
KERNEL __launch_bounds__(256)
    again(const float* __restrict__ from, const u32* __restrict__ order, const u32* __restrict__ tables, int height,
          int width, const StepState* state, const u32* __restrict__ drawn, TO* __restrict__ to) {
    Affine matrix = matrix_of(drawn, row_of(order, state->position + blockIdx.y));
    const float* normal = reinterpret_cast<const float*>(tables);
    int pixels = height * width;
    Plain image = {from + (u64)blockIdx.y * pixels * CHANNELS, width};
    for (int i = (int)blockIdx.x * THREADS + (int)threadIdx.x; i < pixels; i += (int)gridDim.x * THREADS) {
        float values[CHANNELS];
        sample(values, matrix, i % width, i / width, height, width, normal, image);
        TO* target = to + ((u64)blockIdx.y * pixels + i) * CHANNELS;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) store(target[c], values[c]);
    }
}

// What lies behind the blends in the tables: mean and deviation of each channel, and numbers of the normal
// distribution above 0, each as likely.
constexpr int SCALES = 2 * CHANNELS;

__device__ __forceinline__ const float* scales_of(const u32* tables, int height, int width) {
    return reinterpret_cast<const float*>(tables + CHANNELS * 256 + 3 * (height + width));
}

constexpr int MEAN = 1, COLOUR = 2;

// A rectangle of each image painted over, as `src/data/transforms/erase.rs` does it: its words are what it is painted with,
// the rectangle (top, left, bottom, right), and the key of the generator that draws the paint.
KERNEL __launch_bounds__(256)
    erase(const float* __restrict__ from, const u32* __restrict__ order, const u32* __restrict__ tables, int height,
          int width, const StepState* state, const u32* __restrict__ drawn, TO* __restrict__ to) {
    const u32* words = drawn + (u64)row_of(order, state->position + blockIdx.y) * WORDS + AT;
    const float* quantiles = scales_of(tables, height, width) + SCALES;
    int paint = (int)words[0], top = (int)words[1], left = (int)words[2], bottom = (int)words[3], right = (int)words[4];
    u32 key_low = words[5], key_high = words[6];
    int pixels = height * width;
    for (int i = (int)blockIdx.x * THREADS + (int)threadIdx.x; i < pixels; i += (int)gridDim.x * THREADS) {
        int x = i % width, y = i / width;
        bool inside = top <= y && y < bottom && left <= x && x < right;
        u64 at = ((u64)blockIdx.y * pixels + i) * CHANNELS;
        u32 block = 0xFFFFFFFFu;
        Block random;
        for (int c = 0; c < CHANNELS; c++) {
            float value = from[at + c];
            if (inside) {
                value = 0.0f;
                if (paint != MEAN) {
                    u32 number = paint == COLOUR ? c : i * CHANNELS + c;
                    if (number / 4 != block) {
                        block = number / 4;
                        random = philox(key_low, key_high, block, 0, 0, 0);
                    }
                    u32 word = random.word[number % 4];
                    value = quantiles[word >> 20];
                    if (word >> 19 & 1) value = -value;
                }
            }
            store(to[at + c], value);
        }
    }
}

// Each image mixed with its partner, the one at its place when the batch is read backwards, as the words of this batch
// have it: the image's share, a rectangle of the partner (top, left, bottom, right) that is exchanged where the share is
// 1, and the weight of the image's own label. to_labels [batch, 3]: the label with the larger weight, the other one, and
// the weight of the first. `epoch` are the images of an epoch.
KERNEL __launch_bounds__(256)
    mix(const float* __restrict__ from, const u32* __restrict__ labels, const u32* __restrict__ order, int height,
        int width, u32 epoch, const StepState* state, const u32* __restrict__ mixes, TO* __restrict__ to,
        u32* __restrict__ to_labels) {
    constexpr int MIX_WORDS = 6;
    // The epoch's last batch may have fewer images than there is room for.
    u32 images = state->position < epoch ? min(epoch - state->position, gridDim.y) : 0;
    if (blockIdx.y >= images) return;
    u32 partner = images - 1 - blockIdx.y;
    const u32* words = mixes + (u64)state->step * MIX_WORDS;
    float share = __uint_as_float(words[0]), rest = __fsub_rn(1.0f, share);
    int top = (int)words[1], left = (int)words[2], bottom = (int)words[3], right = (int)words[4];
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        float weight = __uint_as_float(words[5]);
        u32 own = labels[image_of(order, state->position + blockIdx.y)];
        u32 other = labels[image_of(order, state->position + partner)];
        u32* target = to_labels + 3 * blockIdx.y;
        bool first = weight >= 0.5f;
        target[0] = first ? own : other;
        target[1] = first ? other : own;
        target[2] = __float_as_uint(first ? weight : __fsub_rn(1.0f, weight));
    }
    int pixels = height * width;
    for (int i = (int)blockIdx.x * THREADS + (int)threadIdx.x; i < pixels; i += (int)gridDim.x * THREADS) {
        int x = i % width, y = i / width;
        bool inside = top <= y && y < bottom && left <= x && x < right;
        u64 own = ((u64)blockIdx.y * pixels + i) * CHANNELS, other = ((u64)partner * pixels + i) * CHANNELS;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) {
            float value = from[own + c];
            if (share == 1.0f) {
                if (inside) value = from[other + c];
            } else if (own != other) {
                value = __fadd_rn(__fmul_rn(value, share), __fmul_rn(from[other + c], rest));
            }
            store(to[own + c], value);
        }
    }
}

// Whole images resized by the blends of rows, then of columns.
KERNEL __launch_bounds__(256)
    shrink(const float* __restrict__ from, const u32* __restrict__ blends, int height, int width, int new_height,
           int new_width, TO* __restrict__ to) {
    Axis rows = {blends, new_height}, columns = {blends + 3 * new_height, new_width};
    int pixels = new_height * new_width;
    Plain image = {from + (u64)blockIdx.y * height * width * CHANNELS, width};
    for (int i = (int)blockIdx.x * THREADS + (int)threadIdx.x; i < pixels; i += (int)gridDim.x * THREADS) {
        int x = i % new_width, y = i / new_width;
        float corners[2][2][CHANNELS];
#pragma unroll
        for (int c = 0; c < 4; c++) {
            image(corners[c / 2][c % 2], c / 2 ? rows.high(y) : rows.low(y), c % 2 ? columns.high(x) : columns.low(x));
        }
        TO* target = to + ((u64)blockIdx.y * pixels + i) * CHANNELS;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) {
            float upper = blend(corners[0][0][c], corners[0][1][c], columns.weight(x));
            float lower = blend(corners[1][0][c], corners[1][1][c], columns.weight(x));
            store(target[c], blend(upper, lower, rows.weight(y)));
        }
    }
}

// Images and labels from one place to another, in words of 32 bits.
KERNEL __launch_bounds__(256) take(u32 words, const u32* __restrict__ from, u32* __restrict__ to, u32 label_words,
                                   const u32* __restrict__ labels, u32* __restrict__ to_labels) {
    u32 first = blockIdx.x * THREADS + threadIdx.x, all = gridDim.x * THREADS;
    for (u32 i = first; i < words; i += all) to[i] = from[i];
    for (u32 i = first; i < label_words; i += all) to_labels[i] = labels[i];
}
