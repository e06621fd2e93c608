// The input pipeline: a batch of bytes, normalised, resized, mirrored, rotated and zoomed, as
// `src/data` does it on the host, product by product (no fused multiply-adds). Definitions: TO the
// type of the result; CHANNELS; AUGMENTED, ROTATED; STAGED: the image fits shared memory.
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

// A word as a number in [-1, 1).
__device__ __forceinline__ float symmetric(u32 word) {
    return __fsub_rn(__fmul_rn(2.0f, __fmul_rn((float)(word >> 8), 1.0f / 16777216.0f)), 1.0f);
}

__device__ __forceinline__ Block draw(u32 key_low, u32 key_high, u32 index, const StepState* state) {
    return philox(key_low, key_high, index, 0, state->epoch, 0);
}

// The pixel at position `at` of an axis that is mirrored at both edges, for ever.
__device__ __forceinline__ int reflect(int at, int size) {
    if ((u32)at < (u32)size) return at;
    int folded = at % (2 * size);
    if (folded < 0) folded += 2 * size;
    return folded < size ? folded : 2 * size - 1 - folded;
}

// Rows give the input's x and y from the output's (x, y, 1).
struct Affine {
    float x[3], y[3];
};

__device__ __forceinline__ float position(const float (&row)[3], int x, int y) {
    return __fadd_rn(__fadd_rn(__fmul_rn(row[0], (float)x), __fmul_rn(row[1], (float)y)), row[2]);
}

// values = the bilinear sample of an image `at(row, column, channel)` at the transformed position.
template <typename At>
__device__ __forceinline__ void sample(float (&values)[CHANNELS], const Affine& matrix, int x, int y, int height, int width, const At& at) {
    float from_x = position(matrix.x, x, y), from_y = position(matrix.y, x, y);
    float left = floorf(from_x), top = floorf(from_y);
    float across = __fsub_rn(from_x, left), down = __fsub_rn(from_y, top);
    int columns[2] = {reflect((int)left, width), reflect((int)left + 1, width)};
    int rows[2] = {reflect((int)top, height), reflect((int)top + 1, height)};
    float corners[2][2][CHANNELS];
#pragma unroll
    for (int i = 0; i < 4; i++) at(corners[i / 2][i % 2], rows[i / 2], columns[i % 2]);
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
    bool mirrored;

    __device__ __forceinline__ float pixel(int row, int column, int channel) const {
        int at = (row * width + column) * CHANNELS + channel;
#if STAGED
        return staged[at];
#else
        return normal[channel * 256 + bytes[at]];
#endif
    }

    __device__ __forceinline__ void operator()(float (&values)[CHANNELS], int y, int x) const {
        if (mirrored) x = columns.size - 1 - x;
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

// Image blockIdx.y of the batch is number order[position + blockIdx.y] of the data: normalised by the
// table [CHANNELS, 256], resized from [height, width] to [new_height, new_width] by the blends after
// it, mirrored, rotated by at most `rotation` radians; and its label.
KERNEL __launch_bounds__(256)
    prepare(const u8* __restrict__ images, const u32* __restrict__ labels, const u32* __restrict__ order,
            const u32* __restrict__ tables, int height, int width, int new_height, int new_width, const StepState* state,
            u32 key_low, u32 key_high, u32 flip, float rotation, TO* __restrict__ to, u32* __restrict__ to_labels) {
    u32 index = order[state->position + blockIdx.y];
    if (blockIdx.x == 0 && threadIdx.x == 0) to_labels[blockIdx.y] = labels[index];
    int bytes = height * width * CHANNELS;
    Resized image;
    image.bytes = images + (u64)index * bytes;
    image.normal = reinterpret_cast<const float*>(tables);
    image.rows = Axis{tables + CHANNELS * 256, new_height};
    image.columns = Axis{image.rows.words + 3 * new_height, new_width};
    image.width = width;
    image.mirrored = false;
#if STAGED
    DYNAMIC_SHARED(memory);
    float* staged = reinterpret_cast<float*>(memory);
    for (int i = threadIdx.x; i < bytes; i += THREADS) staged[i] = image.normal[i % CHANNELS * 256 + image.bytes[i]];
    image.staged = staged;
    __syncthreads();
#endif
#if AUGMENTED
    Block words = draw(key_low, key_high, index, state);
    image.mirrored = flip && words.word[0] >> 31;
#endif
#if ROTATED
    float sine, cosine;
    sincosf(__fmul_rn(rotation, symmetric(words.word[1])), &sine, &cosine);
    float right = (float)(new_width - 1), bottom = (float)(new_height - 1);
    float x = __fsub_rn(__fmul_rn(cosine, right), __fmul_rn(sine, bottom));
    float y = __fadd_rn(__fmul_rn(sine, right), __fmul_rn(cosine, bottom));
    Affine matrix = {{cosine, -sine, __fsub_rn(right, x) / 2}, {sine, cosine, __fsub_rn(bottom, y) / 2}};
#endif
    int pixels = new_height * new_width;
    for (int i = (int)blockIdx.x * THREADS + (int)threadIdx.x; i < pixels; i += (int)gridDim.x * THREADS) {
        float values[CHANNELS];
#if ROTATED
        sample(values, matrix, i % new_width, i / new_width, new_height, new_width, image);
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

// The batch that `prepare` left, zoomed by at most `zoom` in height and width.
KERNEL __launch_bounds__(256) zoom(const float* __restrict__ from, const u32* __restrict__ order, int height, int width,
                                   const StepState* state, u32 key_low, u32 key_high, float zoom, TO* __restrict__ to) {
    Block words = draw(key_low, key_high, order[state->position + blockIdx.y], state);
    float vertical = __fadd_rn(1.0f, __fmul_rn(zoom, symmetric(words.word[2])));
    float horizontal = __fadd_rn(1.0f, __fmul_rn(zoom, symmetric(words.word[3])));
    Affine matrix = {{horizontal, 0, __fmul_rn((float)(width - 1) / 2, __fsub_rn(1.0f, horizontal))},
                     {0, vertical, __fmul_rn((float)(height - 1) / 2, __fsub_rn(1.0f, vertical))}};
    int pixels = height * width;
    Plain image = {from + (u64)blockIdx.y * pixels * CHANNELS, width};
    for (int i = (int)blockIdx.x * THREADS + (int)threadIdx.x; i < pixels; i += (int)gridDim.x * THREADS) {
        float values[CHANNELS];
        sample(values, matrix, i % width, i / width, height, width, image);
        TO* target = to + ((u64)blockIdx.y * pixels + i) * CHANNELS;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) store(target[c], values[c]);
    }
}
