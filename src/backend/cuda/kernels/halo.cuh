// What windows that follow one another read of images [images, HEIGHT, WIDTH, DEPTH] of bfloat16, once in shared memory
// for all taps of a kernel: CHUNK channels of each pixel, zeros beside the images.
// Definitions: HEIGHT, WIDTH, DEPTH, CHUNK; along each axis (_ROWS, _COLUMNS) COUNT windows of an image, STRIDE places apart,
// of which the first begins at FIRST (beside the image if that is below 0), and TAP taps that are STEP places apart;
// HALO_ROWS lines that are kept.
//
// Lines of images with what lies beside them are numbered through from the first image to the last, PADDED_ROWS an image.
// Of a line, the columns 0, STRIDE, 2 STRIDE, .. come first, then 1, 1 + STRIDE, ..: the same tap of windows side by
// side lies side by side, so that eight pixels that are read together touch all banks once.
#pragma once
#include "common.cuh"

constexpr int PITCH = CHUNK + 8;
constexpr int TAPS = TAP_ROWS * TAP_COLUMNS;
constexpr int WINDOWS = COUNT_ROWS * COUNT_COLUMNS;
constexpr int PADDED_ROWS = (COUNT_ROWS - 1) * STRIDE_ROWS + (TAP_ROWS - 1) * STEP_ROWS + 1;
constexpr int PADDED_COLUMNS = (COUNT_COLUMNS - 1) * STRIDE_COLUMNS + (TAP_COLUMNS - 1) * STEP_COLUMNS + 1;
// Columns that are STRIDE apart.
constexpr int PHASE = (PADDED_COLUMNS + STRIDE_COLUMNS - 1) / STRIDE_COLUMNS;
constexpr int HALO_COLUMNS = PHASE * STRIDE_COLUMNS;
constexpr int HALO = HALO_ROWS * HALO_COLUMNS * PITCH;
constexpr int CHUNKS = (DEPTH + CHUNK - 1) / CHUNK;
// Whether windows lie in each span of so many as in the first one, and also in each sixteen of it.
template <int N> constexpr bool ALIKE = N % WINDOWS == 0 || (WINDOWS % N == 0 && N % COUNT_COLUMNS == 0);
template <int N>
constexpr bool EVEN = ALIKE<N> && (COUNT_COLUMNS % 16 == 0 || (16 % COUNT_COLUMNS == 0 && WINDOWS % 16 == 0));

// The line of a window's first tap.
__device__ __forceinline__ int line_of(u32 window) {
    return (int)(window / WINDOWS) * PADDED_ROWS + (int)(window / COUNT_COLUMNS % COUNT_ROWS) * STRIDE_ROWS;
}

// Where a window's first tap lies in a halo that begins with a line.
__device__ __forceinline__ int place_of(u32 window, int first_line) {
    return ((line_of(window) - first_line) * HALO_COLUMNS + (int)(window % COUNT_COLUMNS)) * PITCH;
}

// How much further a tap lies.
__device__ __forceinline__ int shift_of(int tap) {
    int column = tap % TAP_COLUMNS * STEP_COLUMNS;
    int line = tap / TAP_COLUMNS * STEP_ROWS;
    return (line * HALO_COLUMNS + column % STRIDE_COLUMNS * PHASE + column / STRIDE_COLUMNS) * PITCH;
}

// Sends a chunk of channels of the lines from `first_line` on to a halo: what thread number `thread` of these does.
// UNROLL copies are begun together. They are there after `loads_done` and a barrier.
template <int THREADS, int UNROLL>
__device__ __forceinline__ void load_halo(bf16* to, const bf16* __restrict__ from, int images, int first_line, int chunk,
                                          int thread) {
    constexpr int VECTORS = CHUNK / 8, ALL = HALO_ROWS * HALO_COLUMNS * VECTORS;
#pragma unroll UNROLL
    for (int i = thread; i < ALL; i += THREADS) {
        int channel = i % VECTORS * 8, slot = i / VECTORS;
        int line = first_line + slot / HALO_COLUMNS, place = slot % HALO_COLUMNS;
        int image = line / PADDED_ROWS, row = line % PADDED_ROWS + (FIRST_ROWS);
        int column = place / PHASE + place % PHASE * STRIDE_COLUMNS + (FIRST_COLUMNS);
        bool there = image < images && row >= 0 && row < HEIGHT && column >= 0 && column < WIDTH;
        u64 pixel = ((u64)image * HEIGHT + row) * WIDTH + column;
        int first = chunk * CHUNK + channel;
        if constexpr (DEPTH % 8 == 0) {
            if (DEPTH % CHUNK != 0) there = there && first < DEPTH;
            copy_async(to + slot * PITCH + channel, from + (there ? pixel * DEPTH + first : 0), there);
        } else {
            // Pixels are no whole vectors.
            Words words;
#pragma unroll
            for (int k = 0; k < 4; k++) {
                u32 low = there && first + 2 * k < DEPTH ? from[pixel * DEPTH + first + 2 * k].bits : 0;
                u32 high = there && first + 2 * k + 1 < DEPTH ? from[pixel * DEPTH + first + 2 * k + 1].bits : 0;
                words.word[k] = high << 16 | low;
            }
            *reinterpret_cast<Words*>(to + slot * PITCH + channel) = words;
        }
    }
}
