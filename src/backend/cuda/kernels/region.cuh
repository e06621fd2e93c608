// What the kernels of regions are made of, whose text `region/text.rs` writes: phases over a tile of rows, all of whose
// tensors are bfloat16 matrices in shared memory. A phase is the work of the whole block; between two phases that touch
// the same memory stands a barrier, which the text has.
//
// Rows from `rows` on are not there: they are loaded as zeros, stay zeros where a function of zero need not be
// one, and are never stored. WARPS is how many a block has.
#pragma once
#include "common.cuh"

constexpr int THREADS = 32 * WARPS;

// Elements from row to row of a tile: eight rows, read together, touch all banks once. Tiles that no product reads need nothing between
// rows.
#ifndef PAD
#define PAD 8
#endif
__device__ constexpr int pitch(int width) { return width + PAD; }

// A tile from a tensor, `stride` elements from row to row. It is there after `loads_done` and a barrier.
template <int ROWS, int WIDTH>
__device__ __forceinline__ void load_tile(bf16* tile, const bf16* from, int stride, int rows) {
    constexpr int VECTORS = WIDTH / 8;
    for (int i = threadIdx.x; i < ROWS * VECTORS; i += THREADS) {
        int row = i / VECTORS, column = i % VECTORS * 8;
        bool there = row < rows;
        copy_async(tile + row * pitch(WIDTH) + column, from + (u64)(there ? row : 0) * stride + column, there);
    }
    loads_begun();
}

template <int ROWS, int WIDTH>
__device__ __forceinline__ void store_tile(bf16* to, int stride, const bf16* tile, int rows) {
    constexpr int VECTORS = WIDTH / 8;
    for (int i = threadIdx.x; i < ROWS * VECTORS; i += THREADS) {
        int row = i / VECTORS, column = i % VECTORS * 8;
        if (row < rows)
            *reinterpret_cast<Words*>(to + (u64)row * stride + column) =
                *reinterpret_cast<const Words*>(tile + row * pitch(WIDTH) + column);
    }
}

// A product [M, N] whose sums stay in registers while its depth comes in pieces. A warp has units of [UM, UN]. TA: the left operand is
// the transpose of what lies in memory; TB: the right one is.
template <int M, int N, bool TA, bool TB, int UM, int UN> struct Product {
    static constexpr int ACROSS = N / UN, UNITS = M / UM * ACROSS, PASSES = (UNITS + WARPS - 1) / WARPS;
    float sums[PASSES][UM / 16][UN / 8][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
#pragma unroll
            for (int m = 0; m < UM / 16; m++) {
#pragma unroll
                for (int n = 0; n < UN / 8; n++) {
#pragma unroll
                    for (int i = 0; i < 4; i++) sums[pass][m][n][i] = 0;
                }
            }
        }
    }

    // Adds a b, for K of the depth.
    template <int K, int PITCH_A, int PITCH_B> __device__ __forceinline__ void add(const bf16* a, const bf16* b) {
        int lane = (int)threadIdx.x % 32;
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
            int unit = pass * WARPS + (int)threadIdx.x / 32;
            if (UNITS % WARPS != 0 && unit >= UNITS) break;
            int row = unit / ACROSS * UM, column = unit % ACROSS * UN;
#pragma unroll 2
            for (int k = 0; k < K; k += 16) {
                u32 right[UN / 16][4];
#pragma unroll
                for (int n = 0; n < UN / 16; n++) {
                    int at = column + 16 * n;
                    if constexpr (TB) {
                        load_matrices(right[n], b + (at + lane % 8 + lane / 16 * 8) * PITCH_B + k + lane / 8 % 2 * 8);
                    } else {
                        load_matrices_transposed(right[n], b + (k + lane % 16) * PITCH_B + at + lane / 16 * 8);
                    }
                }
#pragma unroll
                for (int m = 0; m < UM / 16; m++) {
                    int at = row + 16 * m;
                    u32 left[4];
                    if constexpr (TA) {
                        load_matrices_transposed(left, a + (k + lane % 8 + lane / 16 * 8) * PITCH_A + at + lane / 8 % 2 * 8);
                    } else {
                        load_matrices(left, a + (at + lane % 16) * PITCH_A + k + lane / 16 * 8);
                    }
#pragma unroll
                    for (int n = 0; n < UN / 16; n++) {
                        mma_16x8x16(sums[pass][m][2 * n], left, right[n][0], right[n][1]);
                        mma_16x8x16(sums[pass][m][2 * n + 1], left, right[n][2], right[n][3]);
                    }
                }
            }
        }
    }

    // Gives pairs of columns to `take(row, column, low, high)`.
    template <typename Take> __device__ __forceinline__ void finish(const Take& take) const {
        int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
            int unit = pass * WARPS + (int)threadIdx.x / 32;
            if (UNITS % WARPS != 0 && unit >= UNITS) break;
            int row = unit / ACROSS * UM, column = unit % ACROSS * UN;
#pragma unroll
            for (int m = 0; m < UM / 16; m++) {
#pragma unroll
                for (int n = 0; n < UN / 8; n++) {
                    const float(&pairs)[4] = sums[pass][m][n];
                    take(row + 16 * m + g, column + 8 * n + 2 * t, pairs[0], pairs[1]);
                    take(row + 16 * m + g + 8, column + 8 * n + 2 * t, pairs[2], pairs[3]);
                }
            }
        }
    }
};

// What takes a product's results: a tile, with a bias or none.
template <int PITCH, bool BIAS> struct ToTile {
    bf16* tile;
    const float* bias;

    __device__ __forceinline__ void operator()(int row, int column, float low, float high) const {
        if constexpr (BIAS) low += bias[column], high += bias[column + 1];
        *reinterpret_cast<u32*>(tile + row * PITCH + column) = pack_bf16(low, high);
    }
};

// What takes the sums of a lane's tiles, of which each adds its own: always the same thread's.
template <int STRIDE> struct ToSum {
    float* sum;
    bool first;

    __device__ __forceinline__ void operator()(int row, int column, float low, float high) const {
        float* at = sum + row * STRIDE + column;
        float pair[2] = {0, 0};
        if (!first) load_vector<2>(at, pair);
        pair[0] += low, pair[1] += high;
        store_vector<2>(at, pair);
    }
};

// The sums of a tile's columns, added to a lane's.
template <int ROWS, int WIDTH, int PITCH>
__device__ __forceinline__ void sum_columns(float* sum, bool first, const bf16* tile) {
    int lane = (int)threadIdx.x % 32;
    for (int vector = (int)threadIdx.x / 32; vector < WIDTH / 8; vector += WARPS) {
        float sums[8];
#pragma unroll
        for (int i = 0; i < 8; i++) sums[i] = 0;
        for (int row = lane; row < ROWS; row += 32) {
            float values[8];
            load_vector<8>(tile + row * PITCH + 8 * vector, values);
#pragma unroll
            for (int i = 0; i < 8; i++) sums[i] += values[i];
        }
#pragma unroll
        for (int i = 0; i < 8; i++) sums[i] = warp_sum(sums[i]);
        if (lane == 0) {
#pragma unroll
            for (int i = 0; i < 8; i++) sum[8 * vector + i] = first ? sums[i] : sum[8 * vector + i] + sums[i];
        }
    }
}

// Dropout of eight elements, and none. HOW it is known which stay: `kept_of`.
template <int HOW> struct Dropped {
    Mask mask;
    float keep_scale;
    u8* bytes;

    __device__ __forceinline__ void operator()(u32 block, float (&values)[8]) const {
        u32 kept = kept_of<HOW>(mask, bytes, (u64)block * 8);
#pragma unroll
        for (int i = 0; i < 8; i++) values[i] = kept >> i & 1 ? values[i] * keep_scale : 0.0f;
    }
};
struct Whole {
    __device__ __forceinline__ void operator()(u32, float (&)[8]) const {}
};

// No function: what comes is what goes.
struct Same {
    __device__ __forceinline__ float operator()(float x0) const { return x0; }
};
// No slope.
struct One {
    __device__ __forceinline__ float operator()(float) const { return 1.0f; }
};

// Calls `body(row, offset in a tile, block of eight elements in the tensor)` for all vectors of a tile.
#define FOR_EACH_VECTOR_OF_TILE                                                                      \
    for (int i = threadIdx.x, row, at; i < ROWS * (WIDTH / 8) && (row = i / (WIDTH / 8), at = row * pitch(WIDTH) + i % (WIDTH / 8) * 8, true); \
         i += THREADS)

// y = residual + dropout(f(x)); without a residual it is null. y may be x or the residual.
template <int ROWS, int WIDTH, typename F, typename Drop>
__device__ __forceinline__ void pointwise(bf16* y, const bf16* x, const bf16* residual, const F& f, const Drop& drop,
                                          int first_row, int rows) {
    FOR_EACH_VECTOR_OF_TILE {
        float values[8];
        load_vector<8>(x + at, values);
#pragma unroll
        for (int j = 0; j < 8; j++) values[j] = row < rows ? f(values[j]) : 0.0f;
        if (row < rows) drop((u32)first_row * (WIDTH / 8) + i, values);
        if (residual) {
            float other[8];
            load_vector<8>(residual + at, other);
#pragma unroll
            for (int j = 0; j < 8; j++) values[j] += other[j];
        }
        store_vector<8>(y + at, values);
    }
}

// dz = dropout(dy) f'(z); without a slope z is null. dz may be dy or z.
template <int ROWS, int WIDTH, typename F, typename Drop>
__device__ __forceinline__ void pointwise_gradient(bf16* dz, const bf16* dy, const bf16* z, const F& slope, const Drop& drop,
                                                   int first_row, int rows) {
    FOR_EACH_VECTOR_OF_TILE {
        float values[8];
        load_vector<8>(dy + at, values);
        if (row < rows) drop((u32)first_row * (WIDTH / 8) + i, values);
        if (z) {
            float other[8];
            load_vector<8>(z + at, other);
#pragma unroll
            for (int j = 0; j < 8; j++) values[j] = row < rows ? values[j] * slope(other[j]) : 0.0f;
        }
        store_vector<8>(dz + at, values);
    }
}

// y = a + b; y may be either.
template <int ROWS, int WIDTH> __device__ __forceinline__ void add(bf16* y, const bf16* a, const bf16* b) {
    FOR_EACH_VECTOR_OF_TILE {
        float values[8], other[8];
        load_vector<8>(a + at, values);
        load_vector<8>(b + at, other);
#pragma unroll
        for (int j = 0; j < 8; j++) values[j] += other[j];
        store_vector<8>(y + at, values);
    }
}

// y = bias + the sum over heads of x [rows, HEADS, WIDTH], which is no tile; bias may be null.
template <int ROWS, int WIDTH, int HEADS>
__device__ __forceinline__ void sum_heads(bf16* y, const bf16* x, const float* bias, int rows) {
    FOR_EACH_VECTOR_OF_TILE {
        int column = i % (WIDTH / 8) * 8;
        float sums[8];
#pragma unroll
        for (int j = 0; j < 8; j++) sums[j] = 0;
        if (row < rows) {
            if (bias) load_vector<8>(bias + column, sums);
            const bf16* heads = x + (u64)row * (HEADS * WIDTH) + column;
#pragma unroll 8
            for (int head = 0; head < HEADS; head++) {
                float values[8];
                load_vector<8>(heads + head * WIDTH, values);
#pragma unroll
                for (int j = 0; j < 8; j++) sums[j] += values[j];
            }
        }
        store_vector<8>(y + at, sums);
    }
}

// How the threads of a warp share rows: GROUP of them have one, PARTS vectors each.
template <int WIDTH> struct Rows {
    static constexpr int VECTORS = WIDTH / 8;
    static constexpr int GROUP = VECTORS > 16 ? 32 : VECTORS > 8 ? 16 : VECTORS > 4 ? 8 : VECTORS > 2 ? 4 : 2;
    static constexpr int PARTS = (VECTORS + GROUP - 1) / GROUP;
    // Rows of a warp at a time.
    static constexpr int SIDE = 32 / GROUP;

    static __device__ __forceinline__ int column(int part) { return (part * GROUP + (int)threadIdx.x % GROUP) * 8; }
    static __device__ __forceinline__ bool there(int part) { return VECTORS % GROUP == 0 || column(part) < WIDTH; }
    static __device__ __forceinline__ float sum(float value) {
#pragma unroll
        for (int offset = GROUP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
        return value;
    }
};

// y = (x - mean) rstd gamma + beta. With SUM, x is first replaced by x + dropout(b), which is kept in `sum`; that may be
// x or b. mean and rstd are of the tensor, from the tile's first row on.
template <int ROWS, int WIDTH, bool SUM, typename Drop>
__device__ __forceinline__ void norm(bf16* y, bf16* sum, const bf16* x, const bf16* b, const Drop& drop,
                                     const float* __restrict__ gamma, const float* __restrict__ beta, float epsilon,
                                     float* __restrict__ mean, float* __restrict__ rstd, int first_row, int rows) {
    typedef Rows<WIDTH> R;
    for (int base = (int)threadIdx.x / 32 * R::SIDE; base < ROWS; base += WARPS * R::SIDE) {
        int row = base + (int)threadIdx.x % 32 / R::GROUP;
        float values[R::PARTS][8];
        float total = 0;
#pragma unroll
        for (int part = 0; part < R::PARTS; part++) {
            if (!R::there(part)) continue;
            int at = row * pitch(WIDTH) + R::column(part);
            load_vector<8>(x + at, values[part]);
            if constexpr (SUM) {
                float other[8];
                load_vector<8>(b + at, other);
                if (row < rows) drop((u32)(first_row + row) * (WIDTH / 8) + R::column(part) / 8, other);
#pragma unroll
                for (int j = 0; j < 8; j++) values[part][j] = rounded<bf16>(values[part][j] + other[j]);
                store_vector<8>(sum + at, values[part]);
            }
#pragma unroll
            for (int j = 0; j < 8; j++) total += values[part][j];
        }
        float m = R::sum(total) * (1.0f / WIDTH);
        float squares = 0;
#pragma unroll
        for (int part = 0; part < R::PARTS; part++) {
            if (!R::there(part)) continue;
#pragma unroll
            for (int j = 0; j < 8; j++) squares += (values[part][j] - m) * (values[part][j] - m);
        }
        float r = reciprocal_sqrt(R::sum(squares) * (1.0f / WIDTH) + epsilon);
#pragma unroll
        for (int part = 0; part < R::PARTS; part++) {
            if (!R::there(part)) continue;
            float scale[8], shift[8];
            load_vector<8>(gamma + R::column(part), scale);
            load_vector<8>(beta + R::column(part), shift);
#pragma unroll
            for (int j = 0; j < 8; j++) scale[j] = (values[part][j] - m) * r * scale[j] + shift[j];
            store_vector<8>(y + row * pitch(WIDTH) + R::column(part), scale);
        }
        if (row < rows && threadIdx.x % R::GROUP == 0) mean[row] = m, rstd[row] = r;
    }
}

// With g = dy gamma and n = (x - mean) rstd: dx = rstd (g - mean(g) - n mean(g n)), and `added` to it unless that is null.
// The sums of dy n and dy, [2, WIDTH], are added to a lane's, by way of `sums` [WARPS, 2, WIDTH]. dx may be any of
// dy, x and `added`.
template <int ROWS, int WIDTH>
__device__ __forceinline__ void norm_gradient(bf16* dx, const bf16* dy, const bf16* x, const bf16* added,
                                              const float* __restrict__ gamma, const float* __restrict__ mean,
                                              const float* __restrict__ rstd, float* sums, float* sum, bool first, int rows) {
    typedef Rows<WIDTH> R;
    float dgamma[R::PARTS][8], dbeta[R::PARTS][8];
#pragma unroll
    for (int part = 0; part < R::PARTS; part++) {
#pragma unroll
        for (int j = 0; j < 8; j++) dgamma[part][j] = dbeta[part][j] = 0;
    }
    for (int base = (int)threadIdx.x / 32 * R::SIDE; base < ROWS; base += WARPS * R::SIDE) {
        int row = base + (int)threadIdx.x % 32 / R::GROUP;
        float m = row < rows ? mean[row] : 0.0f, r = row < rows ? rstd[row] : 0.0f;
        float g[R::PARTS][8], normal[R::PARTS][8];
        float total = 0, product = 0;
#pragma unroll
        for (int part = 0; part < R::PARTS; part++) {
            if (!R::there(part)) continue;
            int at = row * pitch(WIDTH) + R::column(part);
            float scale[8];
            load_vector<8>(dy + at, g[part]);
            load_vector<8>(x + at, normal[part]);
            load_vector<8>(gamma + R::column(part), scale);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                normal[part][j] = (normal[part][j] - m) * r;
                dgamma[part][j] += g[part][j] * normal[part][j];
                dbeta[part][j] += g[part][j];
                g[part][j] *= scale[j];
                total += g[part][j];
                product += g[part][j] * normal[part][j];
            }
        }
        total = R::sum(total) * (1.0f / WIDTH);
        product = R::sum(product) * (1.0f / WIDTH);
#pragma unroll
        for (int part = 0; part < R::PARTS; part++) {
            if (!R::there(part)) continue;
            int at = row * pitch(WIDTH) + R::column(part);
            float other[8];
#pragma unroll
            for (int j = 0; j < 8; j++) other[j] = 0;
            if (added) load_vector<8>(added + at, other);
#pragma unroll
            for (int j = 0; j < 8; j++) other[j] += r * (g[part][j] - total - normal[part][j] * product);
            store_vector<8>(dx + at, other);
        }
    }
    // Rows side by side in a warp first.
#pragma unroll
    for (int offset = R::GROUP; offset < 32; offset *= 2) {
#pragma unroll
        for (int part = 0; part < R::PARTS; part++) {
#pragma unroll
            for (int j = 0; j < 8; j++) {
                dgamma[part][j] += __shfl_xor_sync(0xFFFFFFFFu, dgamma[part][j], offset);
                dbeta[part][j] += __shfl_xor_sync(0xFFFFFFFFu, dbeta[part][j], offset);
            }
        }
    }
    // Then the warps, in order.
    float* own = sums + (int)threadIdx.x / 32 * (2 * WIDTH);
    if (threadIdx.x % 32 < R::GROUP) {
#pragma unroll
        for (int part = 0; part < R::PARTS; part++) {
            if (!R::there(part)) continue;
            store_vector<8>(own + R::column(part), dgamma[part]);
            store_vector<8>(own + WIDTH + R::column(part), dbeta[part]);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * WIDTH; i += THREADS) {
        float all = first ? 0.0f : sum[i];
#pragma unroll
        for (int warp = 0; warp < WARPS; warp++) all += sums[warp * 2 * WIDTH + i];
        sum[i] = all;
    }
}

// The sums of four columns over the rows of a matrix, in order: eight rows are under way at a time.
__device__ __forceinline__ void sum_blocks(float (&sum)[4], int rows, const float* __restrict__ from, int stride) {
#pragma unroll
    for (int i = 0; i < 4; i++) sum[i] = 0;
#pragma unroll 8
    for (int row = 0; row < rows; row++) {
        float values[4];
        load_vector<4>(from + (u64)row * stride, values);
#pragma unroll
        for (int i = 0; i < 4; i++) sum[i] += values[i];
    }
}

// How the threads of a block share the columns of a tile: each stays in its eight, and goes from row to row. Those that are left over
// have none.
template <int WIDTH> struct Columns {
    static constexpr int VECTORS = WIDTH / 8, GROUPS = THREADS / VECTORS;

    static __device__ __forceinline__ int column() { return (int)threadIdx.x % VECTORS * 8; }
    static __device__ __forceinline__ int group() { return (int)threadIdx.x / VECTORS; }
};

// What normalises eight channels: (x - mean) scale + beta. Without an activation after it a gradient asks for no beta, which is null.
struct Normal {
    float mean[8], rstd[8], scale[8], beta[8];

    __device__ __forceinline__ Normal(int channel, float epsilon, const float* gammas, const float* betas, const float* means,
                                      const float* variances) {
        load_vector<8>(means + channel, mean);
        load_vector<8>(variances + channel, rstd);
        load_vector<8>(gammas + channel, scale);
#pragma unroll
        for (int i = 0; i < 8; i++) beta[i] = 0;
        if (betas) load_vector<8>(betas + channel, beta);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            rstd[i] = reciprocal_sqrt(rstd[i] + epsilon);
            scale[i] *= rstd[i];
        }
    }

    __device__ __forceinline__ float of(float x, int i) const { return (x - mean[i]) * scale[i] + beta[i]; }
};

// y = f((x - mean) scale + beta). With SUM a residual is added: 1 to what f makes, 2 to what f takes. y may be x or the residual.
template <int ROWS, int WIDTH, int SUM, typename F>
__device__ __forceinline__ void batch_norm(bf16* y, const bf16* x, const bf16* residual, const F& f, const float* gamma,
                                           const float* beta, const float* mean, const float* variance, float epsilon, int rows) {
    typedef Columns<WIDTH> C;
    if (C::group() >= C::GROUPS) return;
    Normal normal(C::column(), epsilon, gamma, beta, mean, variance);
    for (int row = C::group(); row < ROWS; row += C::GROUPS) {
        int at = row * pitch(WIDTH) + C::column();
        float values[8], other[8];
        load_vector<8>(x + at, values);
        if constexpr (SUM != 0) load_vector<8>(residual + at, other);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float value = normal.of(values[i], i);
            if constexpr (SUM == 2) value += other[i];
            value = f(value);
            if constexpr (SUM == 1) value += other[i];
            values[i] = row < rows ? value : 0.0f;
        }
        store_vector<8>(y + at, values);
    }
}

// dx = scale (dz - dbeta share - (x - mean) rstd^2 dgamma share), dz = dy f'(norm(x)). dx may be dy or x.
template <int ROWS, int WIDTH, typename F>
__device__ __forceinline__ void batch_norm_gradient(bf16* dx, const bf16* dy, const bf16* x, const F& slope, const float* gamma,
                                                    const float* beta, const float* mean, const float* variance,
                                                    const float* dgamma, const float* dbeta, float epsilon, float share,
                                                    int rows) {
    typedef Columns<WIDTH> C;
    if (C::group() >= C::GROUPS) return;
    Normal normal(C::column(), epsilon, gamma, beta, mean, variance);
    float of_mean[8], of_slope[8];
    load_vector<8>(dbeta + C::column(), of_mean);
    load_vector<8>(dgamma + C::column(), of_slope);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        of_mean[i] *= share;
        of_slope[i] *= share * normal.rstd[i];
    }
    for (int row = C::group(); row < ROWS; row += C::GROUPS) {
        int at = row * pitch(WIDTH) + C::column();
        float gradients[8], values[8];
        load_vector<8>(dy + at, gradients);
        load_vector<8>(x + at, values);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float dz = gradients[i] * slope(normal.of(values[i], i));
            float value = normal.scale[i] * (dz - of_mean[i] - (values[i] - normal.mean[i]) * of_slope[i]);
            values[i] = row < rows ? value : 0.0f;
        }
        store_vector<8>(dx + at, values);
    }
}

// Adds two sums of each column to a lane's, [2, WIDTH], by way of `parts` [THREADS, 16].
template <int WIDTH>
__device__ __forceinline__ void add_sums(const float (&first)[8], const float (&second)[8], float* parts, float* sum, bool first_tile) {
    typedef Columns<WIDTH> C;
    if (C::group() < C::GROUPS) {
        store_vector<8>(parts + C::group() * (2 * WIDTH) + C::column(), first);
        store_vector<8>(parts + C::group() * (2 * WIDTH) + WIDTH + C::column(), second);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * WIDTH; i += THREADS) {
        float all = first_tile ? 0.0f : sum[i];
#pragma unroll 8
        for (int group = 0; group < C::GROUPS; group++) all += parts[group * 2 * WIDTH + i];
        sum[i] = all;
    }
}

// The gradients of gamma and of beta: the sums of dz (x - mean) rstd and of dz.
template <int ROWS, int WIDTH, typename F>
__device__ __forceinline__ void batch_norm_sums(const bf16* dy, const bf16* x, const F& slope, const float* gamma,
                                                const float* beta, const float* mean, const float* variance, float epsilon,
                                                float* parts, float* sum, bool first_tile, int rows) {
    typedef Columns<WIDTH> C;
    float first[8], second[8];
#pragma unroll
    for (int i = 0; i < 8; i++) first[i] = second[i] = 0;
    if (C::group() < C::GROUPS) {
        Normal normal(C::column(), epsilon, gamma, beta, mean, variance);
        for (int row = C::group(); row < min(ROWS, rows); row += C::GROUPS) {
            int at = row * pitch(WIDTH) + C::column();
            float gradients[8], values[8];
            load_vector<8>(dy + at, gradients);
            load_vector<8>(x + at, values);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float dz = gradients[i] * slope(normal.of(values[i], i));
                first[i] += dz * (values[i] - normal.mean[i]);
                second[i] += dz;
            }
        }
#pragma unroll
        for (int i = 0; i < 8; i++) first[i] *= normal.rstd[i];
    }
    add_sums<WIDTH>(first, second, parts, sum, first_tile);
}

// The sums of x - shift and of its square.
template <int ROWS, int WIDTH>
__device__ __forceinline__ void moments(const bf16* x, const float* shift, float* parts, float* sum, bool first_tile, int rows) {
    typedef Columns<WIDTH> C;
    float first[8], second[8];
#pragma unroll
    for (int i = 0; i < 8; i++) first[i] = second[i] = 0;
    if (C::group() < C::GROUPS) {
        float by[8];
        load_vector<8>(shift + C::column(), by);
        for (int row = C::group(); row < min(ROWS, rows); row += C::GROUPS) {
            float values[8];
            load_vector<8>(x + row * pitch(WIDTH) + C::column(), values);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float moved = values[i] - by[i];
                first[i] += moved;
                second[i] += moved * moved;
            }
        }
    }
    add_sums<WIDTH>(first, second, parts, sum, first_tile);
}
