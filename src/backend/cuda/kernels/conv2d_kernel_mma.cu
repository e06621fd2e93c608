// The gradient of a convolution's kernel by tensor cores: for each tap the product of the pixels that the windows have
// there, transposed, with the gradient of the result.
// Definitions: those of halo.cuh, of the convolution; FILTERS; a block takes TAP_TILE taps, CHUNK channels and WARPS_N times 32
// filters, a warp one tap and 32 filters; SPAN windows at a time, in STAGES of shared memory; BLOCKS blocks a multiprocessor.
// LOADERS more warps send for what these read, so that addresses take no registers from sums.
#include "halo.cuh"

constexpr int WORKERS = TAP_TILE * WARPS_N, THREADS = 32 * (WORKERS + LOADERS);
constexpr int TILE_N = 32 * WARPS_N, GRADIENT_PITCH = TILE_N + 8;
constexpr int TILES_N = (FILTERS + TILE_N - 1) / TILE_N;
constexpr int STAGE = HALO + SPAN * GRADIENT_PITCH;

// What the loading warps do: a span's halo and its rows of the gradient, STAGES - 1 spans ahead.
__device__ __forceinline__ void load_spans(bf16* stages, int images, int steps, u32 begin, const bf16* __restrict__ x,
                                           const bf16* __restrict__ dy, int first, int chunk) {
    constexpr int VECTORS = TILE_N / 8, LANES = 32 * LOADERS;
    int lane = (int)threadIdx.x - 32 * WORKERS;
    u32 windows = (u32)images * WINDOWS;
    auto load = [&](int step) {
        bf16* to = stages + step % STAGES * STAGE;
        u32 window = begin + step * SPAN;
        load_halo<LANES, 4>(to, x, images, line_of(window), chunk, lane);
#pragma unroll 4
        for (int i = lane; i < SPAN * VECTORS; i += LANES) {
            int r = i / VECTORS, c = i % VECTORS * 8;
            bool there = window + r < windows;
            if (FILTERS % TILE_N != 0) there = there && first + c < FILTERS;
            copy_async(to + HALO + r * GRADIENT_PITCH + c, dy + (there ? (u64)(window + r) * FILTERS + first + c : 0), there);
        }
    };
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < steps) load(step);
        loads_begun();
    }
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        loads_done<STAGES - 2>();
        __syncthreads();
        if (step + STAGES - 1 < steps) load(step + STAGES - 1);
        loads_begun();
    }
}

// Sums over `part` spans of windows: out [parts, taps, DEPTH, FILTERS]. Blocks: (filters, then channels, then taps; parts).
KERNEL __launch_bounds__(THREADS, BLOCKS) conv2d_kernel_mma(int images, int part, const bf16* __restrict__ x,
                                                            const bf16* __restrict__ dy, float* out) {
    DYNAMIC_SHARED(memory);
    bf16* stages = reinterpret_cast<bf16*>(memory);
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int first = (int)blockIdx.x % TILES_N * TILE_N, chunk = (int)blockIdx.x / TILES_N % CHUNKS;
    int tap = (int)blockIdx.x / TILES_N / CHUNKS * TAP_TILE + warp / WARPS_N, filter = warp % WARPS_N * 32;
    u32 windows = (u32)images * WINDOWS, begin = blockIdx.y * (u32)part * SPAN;
    int steps = min(part, (int)((windows - begin + SPAN - 1) / SPAN));

    if (warp >= WORKERS) {
        load_spans(stages, images, steps, begin, x, dy, first, chunk);
        return;
    }
    float sums[CHUNK / 16][4][4];
#pragma unroll
    for (int i = 0; i < CHUNK / 16; i++) {
#pragma unroll
        for (int n = 0; n < 4; n++) {
#pragma unroll
            for (int k = 0; k < 4; k++) sums[i][n][k] = 0.0f;
        }
    }
    // Of the windows that this lane names, where the warp's tap lies in the halo of a span.
    constexpr int PLACES = EVEN<SPAN> ? 1 : SPAN / 16;
    int places[PLACES], shift = shift_of(tap) + lane / 8 % 2 * 8;
    auto find = [&](u32 window) {
        int line = line_of(window);
#pragma unroll
        for (int k = 0; k < PLACES; k++) places[k] = place_of(window + 16 * k + lane % 8 + lane / 16 * 8, line) + shift;
    };
    if (ALIKE<SPAN>) find(begin);

    // Each part has a span. The loop's end is known to come once at least, which spares registers.
    int step = 0;
    do {
        // The span is there, and nobody reads any more the one before, whose memory is filled next.
        __syncthreads();
        if (TAPS % TAP_TILE != 0 && tap >= TAPS) continue;
        if (!ALIKE<SPAN>) find(begin + step * SPAN);
        const bf16* pixels = stages + step % STAGES * STAGE;
        const bf16* gradient = pixels + HALO + filter;
#pragma unroll
        for (int k = 0; k < SPAN / 16; k++) {
            u32 b[2][4];
#pragma unroll
            for (int n = 0; n < 2; n++)
                load_matrices_transposed(b[n], gradient + (16 * k + lane % 16) * GRADIENT_PITCH + 16 * n + lane / 16 * 8);
#pragma unroll
            for (int i = 0; i < CHUNK / 16; i++) {
                u32 a[4];
                load_matrices_transposed(a, pixels + (EVEN<SPAN> ? places[0] + place_of(16 * k, 0) : places[k]) + 16 * i);
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    mma_16x8x16(sums[i][2 * n], a, b[n][0], b[n][1]);
                    mma_16x8x16(sums[i][2 * n + 1], a, b[n][2], b[n][3]);
                }
            }
        }
    } while (++step < steps);

    if (tap >= TAPS) return;
    int channel = chunk * CHUNK + lane / 4, column = first + filter + lane % 4 * 2;
    float* to = out + (((u64)blockIdx.y * TAPS + tap) * DEPTH + channel) * FILTERS + column;
#pragma unroll
    for (int i = 0; i < CHUNK / 8; i++) {
        if (DEPTH % CHUNK != 0 && channel + 8 * i >= DEPTH) continue;
#pragma unroll
        for (int n = 0; n < 4; n++) {
            if (FILTERS % TILE_N != 0 && column + 8 * n >= FILTERS) continue;
            const float* pair = sums[i / 2][n] + i % 2 * 2;
            u64 bits = (u64)__float_as_uint(pair[1]) << 32 | __float_as_uint(pair[0]);
            *reinterpret_cast<u64*>(to + (u64)(8 * i) * FILTERS + 8 * n) = bits;
        }
    }
}
