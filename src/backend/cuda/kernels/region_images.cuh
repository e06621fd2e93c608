// Phases of regions whose tiles are slices of channels of images, [images, height, width, WIDTH], one pixel after the
// other: convolutions of each channel by itself. Their kernels are float32 [taps, channels], of which a tile has the columns from
// where it is given them.
//
// Images from `images` on are not there: what is made of them is zero.
#pragma once
#include "region.cuh"

// Windows along one axis, as `Windows` of windows.cuh, known when the kernel is compiled.
template <int LENGTH, int COUNT, int POOL, int STEP, int SPREAD, int BEFORE> struct Along {
    static constexpr int length = LENGTH, count = COUNT, pool = POOL, stride = STEP, dilation = SPREAD, before = BEFORE;
    // Results side by side that a thread makes of inputs that it reads once: threads that read shared memory together then
    // meet different banks. With strides whole ones, so that all strips meet the same taps.
    static constexpr int strip = STEP == 1 ? 3 : 4;
    static_assert(strip % STEP == 0, "strips are whole strides");
    // Columns that a strip of results reads.
    static constexpr int reach = (strip - 1) * STEP + (POOL - 1) * SPREAD + 1;
    // Whether a result of a strip reads this one of them by a tap.
    __device__ static constexpr bool meets(int result, int tap, int column) { return result * STEP + tap * SPREAD == column; }
};

__device__ constexpr int strips(int count, int strip) { return (count + strip - 1) / strip; }

// The vector of channels, the strip, the line and the image of a thread's work.
template <int WIDTH, int STRIPS, int LINES> struct Strip {
    int channel, strip, line, image;

    __device__ __forceinline__ Strip(int i)
        : channel(i % (WIDTH / 8) * 8), strip(i / (WIDTH / 8) % STRIPS), line(i / (WIDTH / 8) / STRIPS % LINES),
          image(i / (WIDTH / 8) / STRIPS / LINES) {}
};

template <int POOL>
__device__ __forceinline__ void load_taps(float (&to)[POOL][8], const float* __restrict__ kernel, int channels) {
#pragma unroll
    for (int tap = 0; tap < POOL; tap++) load_vector<8>(kernel + tap * channels, to[tap]);
}

// Calls `add(o, tap, values)` for the places `o` of a strip and the taps that meet the columns FIRST to LAST behind `left`, as
// `meets(o, tap, j)` says, with the channels of the column. Columns outside of the line are not there.
template <typename ACROSS, int FIRST, int LAST, int LENGTH, int WIDTH, typename MEETS, typename ADD>
__device__ __forceinline__ void slide(const bf16* line, int left, MEETS meets, ADD add) {
#pragma unroll
    for (int j = FIRST; j <= LAST; j++) {
        int column = left + j;
        if (column < 0 || column >= LENGTH) continue;
        float values[8];
        load_vector<8>(line + column * pitch(WIDTH), values);
#pragma unroll
        for (int o = 0; o < ACROSS::strip; o++) {
#pragma unroll
            for (int tap = 0; tap < ACROSS::pool; tap++) {
                if (meets(o, tap, j)) add(o, tap, values);
            }
        }
    }
}

__device__ __forceinline__ void add_product(float (&sum)[8], const float (&a)[8], const float (&b)[8]) {
#pragma unroll
    for (int k = 0; k < 8; k++) sum[k] += a[k] * b[k];
}

// y = the windows of x, with a bias unless that is null.
template <int IMAGES, int WIDTH, typename DOWN, typename ACROSS>
__device__ __forceinline__ void depthwise(bf16* y, const bf16* x, const float* __restrict__ kernel, int channels,
                                          const float* __restrict__ bias, int images) {
    constexpr int STRIP = ACROSS::strip, STRIPS = strips(ACROSS::count, STRIP);
    for (int i = threadIdx.x; i < IMAGES * DOWN::count * STRIPS * (WIDTH / 8); i += THREADS) {
        Strip<WIDTH, STRIPS, DOWN::count> own(i);
        bool there = own.image < images;
        float sums[STRIP][8];
#pragma unroll
        for (int k = 0; k < 8; k++) sums[0][k] = 0;
        if (bias && there) load_vector<8>(bias + own.channel, sums[0]);
#pragma unroll
        for (int o = 1; o < STRIP; o++) {
#pragma unroll
            for (int k = 0; k < 8; k++) sums[o][k] = sums[0][k];
        }
        int left = own.strip * STRIP * ACROSS::stride - ACROSS::before;
#pragma unroll 1
        for (int r = 0; r < DOWN::pool; r++) {
            int row = own.line * DOWN::stride + r * DOWN::dilation - DOWN::before;
            if (!there || row < 0 || row >= DOWN::length) continue;
            float taps[ACROSS::pool][8];
            load_taps(taps, kernel + r * ACROSS::pool * channels + own.channel, channels);
            const bf16* from = x + (own.image * DOWN::length + row) * ACROSS::length * pitch(WIDTH) + own.channel;
            auto add = [&](int o, int tap, const float (&values)[8]) { add_product(sums[o], values, taps[tap]); };
            slide<ACROSS, 0, ACROSS::reach - 1, ACROSS::length, WIDTH>(from, left, ACROSS::meets, add);
        }
        bf16* to = y + (own.image * DOWN::count + own.line) * ACROSS::count * pitch(WIDTH) + own.channel;
#pragma unroll
        for (int o = 0; o < STRIP; o++) {
            int column = own.strip * STRIP + o;
            if (column < ACROSS::count) store_vector<8>(to + column * pitch(WIDTH), sums[o]);
        }
    }
}

// The gradient of its input, to which `added` is added unless it is null. dx may be `added`.
template <int IMAGES, int WIDTH, typename DOWN, typename ACROSS>
__device__ __forceinline__ void depthwise_gradient(bf16* dx, const bf16* dy, const bf16* added, const float* __restrict__ kernel,
                                                   int channels, int images) {
    constexpr int STRIP = ACROSS::strip, STRIPS = strips(ACROSS::length, STRIP);
    // Windows of a strip, from the first on; that may be before the strip's own.
    constexpr int FIRST = (ACROSS::before - (ACROSS::pool - 1) * ACROSS::dilation) / ACROSS::stride;
    constexpr int LAST = (STRIP - 1 + ACROSS::before) / ACROSS::stride;
    for (int i = threadIdx.x; i < IMAGES * DOWN::length * STRIPS * (WIDTH / 8); i += THREADS) {
        Strip<WIDTH, STRIPS, DOWN::length> own(i);
        bool there = own.image < images;
        int line = (own.image * DOWN::length + own.line) * ACROSS::length * pitch(WIDTH) + own.channel;
        float sums[STRIP][8];
#pragma unroll
        for (int o = 0; o < STRIP; o++) {
#pragma unroll
            for (int k = 0; k < 8; k++) sums[o][k] = 0;
            int column = own.strip * STRIP + o;
            if (added && there && column < ACROSS::length) load_vector<8>(added + line + column * pitch(WIDTH), sums[o]);
        }
        int left = own.strip * (STRIP / ACROSS::stride);
#pragma unroll 1
        for (int r = 0; r < DOWN::pool; r++) {
            int row = own.line + DOWN::before - r * DOWN::dilation, window = row / DOWN::stride;
            if (!there || row < 0 || row % DOWN::stride != 0 || window >= DOWN::count) continue;
            float taps[ACROSS::pool][8];
            load_taps(taps, kernel + r * ACROSS::pool * channels + own.channel, channels);
            const bf16* from = dy + (own.image * DOWN::count + window) * ACROSS::count * pitch(WIDTH) + own.channel;
            auto meets = [](int o, int tap, int window) {
                return o + ACROSS::before - tap * ACROSS::dilation == window * ACROSS::stride;
            };
            auto add = [&](int o, int tap, const float (&values)[8]) { add_product(sums[o], values, taps[tap]); };
            slide<ACROSS, FIRST, LAST, ACROSS::count, WIDTH>(from, left, meets, add);
        }
#pragma unroll
        for (int o = 0; o < STRIP; o++) {
            int column = own.strip * STRIP + o;
            if (column < ACROSS::length) store_vector<8>(dx + line + column * pitch(WIDTH), sums[o]);
        }
    }
}

// The gradient of its kernel, [taps, WIDTH], added to a lane's by way of `parts` [PARTS, taps, WIDTH]: a thread has a row of
// taps, and each PARTS-th strip.
template <int IMAGES, int WIDTH, typename DOWN, typename ACROSS>
__device__ __forceinline__ void depthwise_kernel_gradient(const bf16* x, const bf16* dy, float* parts, float* sum, bool first,
                                                          int images) {
    constexpr int STRIP = ACROSS::strip, STRIPS = strips(ACROSS::count, STRIP), VECTORS = WIDTH / 8;
    constexpr int PARTS = THREADS / (VECTORS * DOWN::pool), TAPS = DOWN::pool * ACROSS::pool;
    static_assert(PARTS > 0, "a thread for each row of taps");
    int channel = (int)threadIdx.x % VECTORS * 8, r = (int)threadIdx.x / VECTORS % DOWN::pool;
    int part = (int)threadIdx.x / VECTORS / DOWN::pool;
    float sums[ACROSS::pool][8];
#pragma unroll
    for (int c = 0; c < ACROSS::pool; c++) {
#pragma unroll
        for (int k = 0; k < 8; k++) sums[c][k] = 0;
    }
    if (part < PARTS) {
#pragma unroll 1
        for (int i = part; i < min(IMAGES, images) * DOWN::count * STRIPS; i += PARTS) {
            Strip<8, STRIPS, DOWN::count> own(i);
            int row = own.line * DOWN::stride + r * DOWN::dilation - DOWN::before;
            if (row < 0 || row >= DOWN::length) continue;
            const bf16* slope = dy + (own.image * DOWN::count + own.line) * ACROSS::count * pitch(WIDTH) + channel;
            const bf16* from = x + (own.image * DOWN::length + row) * ACROSS::length * pitch(WIDTH) + channel;
            float slopes[STRIP][8];
#pragma unroll
            for (int o = 0; o < STRIP; o++) {
#pragma unroll
                for (int k = 0; k < 8; k++) slopes[o][k] = 0;
                int column = own.strip * STRIP + o;
                if (column < ACROSS::count) load_vector<8>(slope + column * pitch(WIDTH), slopes[o]);
            }
            int left = own.strip * STRIP * ACROSS::stride - ACROSS::before;
            auto add = [&](int o, int tap, const float (&values)[8]) { add_product(sums[tap], values, slopes[o]); };
            slide<ACROSS, 0, ACROSS::reach - 1, ACROSS::length, WIDTH>(from, left, ACROSS::meets, add);
        }
#pragma unroll
        for (int c = 0; c < ACROSS::pool; c++)
            store_vector<8>(parts + (part * TAPS + r * ACROSS::pool + c) * WIDTH + channel, sums[c]);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TAPS * WIDTH; i += THREADS) {
        float all = first ? 0.0f : sum[i];
#pragma unroll 8
        for (int p = 0; p < PARTS; p++) all += parts[p * TAPS * WIDTH + i];
        sum[i] = all;
    }
}
