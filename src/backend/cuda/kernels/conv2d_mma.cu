// Convolutions by tensor cores: a product of patches that are never in memory with the kernel, and, from the gradient of
// the result, that of the input, which is a convolution, too.
// Definitions: those of halo.cuh; RESULT channels of the result; of a warp 64 windows by COLUMNS channels, of a block WARPS_M
// by WARPS_N warps, BLOCKS blocks a multiprocessor; HALOS, STAGES in shared memory; BIAS, OTHER whether there is one.
// The kernel [KERNEL_ROWS, KERNEL_COLUMNS, DEPTH, RESULT], or if TRANSPOSED [.., RESULT, DEPTH]: tap (i, j) of a window is its
// (TAP_FROM_ROWS + i TAP_BY_ROWS, TAP_FROM_COLUMNS + j TAP_BY_COLUMNS). The result [images, RESULT_ROWS, RESULT_COLUMNS, RESULT]:
// window (i, j) of an image is its place (FROM_ROWS + i BY_ROWS, FROM_COLUMNS + j BY_COLUMNS).
#include "halo.cuh"

constexpr int THREADS = 32 * WARPS_M * WARPS_N;
constexpr int TILE_M = 64 * WARPS_M, TILE_N = COLUMNS * WARPS_N, RESULT_PITCH = TILE_N + 8;
constexpr int TILES_N = (RESULT + TILE_N - 1) / TILE_N;
// Of a tap and a chunk of channels: rows of the kernel, elements apart, elements of all.
constexpr int KERNEL_LINES = TRANSPOSED ? TILE_N : CHUNK, KERNEL_WIDTH = TRANSPOSED ? CHUNK : TILE_N;
constexpr int KERNEL_PITCH = KERNEL_WIDTH + 8, STAGE = KERNEL_LINES * KERNEL_PITCH;
constexpr int STEPS = CHUNKS * TAPS;

// Sends a tap and a chunk of channels of the kernel to shared memory.
__device__ __forceinline__ void load_kernel(bf16* to, const bf16* __restrict__ kernel, int step, int first) {
    constexpr int VECTORS = KERNEL_WIDTH / 8, AT_ONCE = THREADS / VECTORS;
    constexpr int PASSES = (KERNEL_LINES + AT_ONCE - 1) / AT_ONCE, LINE = TRANSPOSED ? DEPTH : RESULT;
    static_assert(THREADS % VECTORS == 0, "a thread stays in its column");
    int tap = step % TAPS, depth = step / TAPS * CHUNK;
    int row = TAP_FROM_ROWS + tap / TAP_COLUMNS * (TAP_BY_ROWS);
    int column = TAP_FROM_COLUMNS + tap % TAP_COLUMNS * (TAP_BY_COLUMNS);
    // The first line and column that are wanted, and where the kernel ends.
    int line = TRANSPOSED ? first : depth, across = TRANSPOSED ? depth : first;
    constexpr int LINES = TRANSPOSED ? RESULT : DEPTH;
    constexpr bool RAGGED = LINES % KERNEL_LINES != 0 || LINE % KERNEL_WIDTH != 0;
    int r = (int)threadIdx.x / VECTORS, c = (int)threadIdx.x % VECTORS * 8;
    const bf16* from = kernel + (u64)(row * KERNEL_COLUMNS + column) * DEPTH * RESULT + (line + r) * LINE + across + c;
    to += r * KERNEL_PITCH + c;
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) {
        if (KERNEL_LINES % AT_ONCE != 0 && r + pass * AT_ONCE >= KERNEL_LINES) break;
        bool there = !RAGGED || (line + r + pass * AT_ONCE < LINES && across + c < LINE);
        copy_async(to + pass * AT_ONCE * KERNEL_PITCH, there ? from + pass * AT_ONCE * LINE : kernel, there);
    }
}

// A tile of windows and channels of the result, channels fastest.
KERNEL __launch_bounds__(THREADS, BLOCKS) conv2d_mma(int images, const bf16* __restrict__ x, const bf16* __restrict__ kernel,
                                                     const float* __restrict__ bias, const bf16* other, bf16* y) {
    DYNAMIC_SHARED(memory);
    bf16* halos = reinterpret_cast<bf16*>(memory);
    bf16* stages = halos + HALOS * HALO;
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int warp_m = warp % WARPS_M * 64, warp_n = warp / WARPS_M * COLUMNS;
    int first = (int)blockIdx.x % TILES_N * TILE_N;
    u32 tile = blockIdx.x / TILES_N * TILE_M;
    int first_line = line_of(tile);
    // Where the windows that this lane names lie in the halo.
    constexpr int PLACES = EVEN<64> ? 1 : 4;
    int places[PLACES];
#pragma unroll
    for (int i = 0; i < PLACES; i++) places[i] = place_of(tile + warp_m + 16 * i + lane % 16, first_line) + lane / 16 * 8;
    float sums[4][COLUMNS / 8][4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++) {
#pragma unroll
            for (int k = 0; k < 4; k++) sums[i][n][k] = 0.0f;
        }
    }

    load_halo<THREADS, 1>(halos, x, images, first_line, 0, threadIdx.x);
#pragma unroll
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < STEPS) load_kernel(stages + step * STAGE, kernel, step, first);
        loads_begun();
    }
#pragma unroll 1
    for (int step = 0; step < STEPS; step++) {
        int tap = step % TAPS, chunk = step / TAPS;
        // The next halo was sent for at the last one's first tap: with few taps, a moment ago.
        if (TAPS < STAGES - 1 && tap == 0) loads_done<0>();
        else loads_done<STAGES - 2>();
        // All have their copies, and nobody reads any more what comes next.
        __syncthreads();
        int next = step + STAGES - 1;
        if (next < STEPS) load_kernel(stages + next % STAGES * STAGE, kernel, next, first);
        if (CHUNKS > 1 && tap == 0 && chunk + 1 < CHUNKS)
            load_halo<THREADS, 1>(halos + (chunk + 1) % HALOS * HALO, x, images, first_line, chunk + 1, threadIdx.x);
        loads_begun();

        const bf16* pixels = halos + chunk % HALOS * HALO + shift_of(tap);
        const bf16* taps = stages + step % STAGES * STAGE;
#pragma unroll
        for (int k = 0; k < CHUNK; k += 16) {
            u32 b[COLUMNS / 16][4];
#pragma unroll
            for (int n = 0; n < COLUMNS / 16; n++) {
                int column = warp_n + 16 * n;
                if constexpr (TRANSPOSED) {
                    int line = column + lane % 8 + lane / 16 * 8;
                    load_matrices(b[n], taps + line * KERNEL_PITCH + k + lane / 8 % 2 * 8);
                } else {
                    load_matrices_transposed(b[n], taps + (k + lane % 16) * KERNEL_PITCH + column + lane / 16 * 8);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                u32 a[4];
                load_matrices(a, pixels + (PLACES == 1 ? places[0] + place_of(16 * i, 0) : places[i]) + k);
#pragma unroll
                for (int n = 0; n < COLUMNS / 16; n++) {
                    mma_16x8x16(sums[i][2 * n], a, b[n][0], b[n][1]);
                    mma_16x8x16(sums[i][2 * n + 1], a, b[n][2], b[n][3]);
                }
            }
        }
    }

    loads_done<0>();
    __syncthreads();
    // By way of shared memory, so that eight channels are stored at once.
    bf16* results = reinterpret_cast<bf16*>(memory);
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++) {
        int column = warp_n + 8 * n + 2 * t;
        float low = 0.0f, high = 0.0f;
        if (BIAS && first + column < RESULT) {
            low = bias[first + column];
            high = bias[first + column + 1];
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const float* pair = sums[i / 2][n] + i % 2 * 2;
            bf16* at = results + (warp_m + 8 * i + g) * RESULT_PITCH + column;
            *reinterpret_cast<u32*>(at) = pack_bf16(pair[0] + low, pair[1] + high);
        }
    }
    __syncthreads();
    constexpr int VECTORS = TILE_N / 8;
    u32 windows = (u32)images * WINDOWS;
#pragma unroll 4
    for (int i = threadIdx.x; i < TILE_M * VECTORS; i += THREADS) {
        u32 window = tile + i / VECTORS;
        int column = i % VECTORS * 8;
        if (window >= windows || first + column >= RESULT) continue;
        u32 image = window / WINDOWS;
        int row = FROM_ROWS + (int)(window / COUNT_COLUMNS % COUNT_ROWS) * BY_ROWS;
        u64 pixel = ((u64)image * RESULT_ROWS + row) * RESULT_COLUMNS + FROM_COLUMNS + (int)(window % COUNT_COLUMNS) * BY_COLUMNS;
        u64 at = pixel * RESULT + first + column;
        const bf16* from = results + i / VECTORS * RESULT_PITCH + column;
        if (OTHER) {
            float own[8], others[8];
            load_vector<8>(from, own);
            load_vector<8>(other + at, others);
#pragma unroll
            for (int k = 0; k < 8; k++) own[k] += others[k];
            store_vector<8>(y + at, own);
        } else {
            *reinterpret_cast<Words*>(y + at) = *reinterpret_cast<const Words*>(from);
        }
    }
}
