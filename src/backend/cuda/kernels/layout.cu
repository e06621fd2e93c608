// Copies that move, repeat, cut or pad, permutations, means over an axis and their gradient.
// Definitions: FROM, TO the types of input and output; VECTOR elements moved at once.
#include "common.cuh"

constexpr int THREADS = 256;

// Tensors have fewer than 2^31 elements: division by 32 bits is much faster than by 64.
#define FOR_EACH_VECTOR(i, count)                                                                    \
    for (u32 i = (blockIdx.x * THREADS + threadIdx.x) * VECTOR; i < count; i += gridDim.x * THREADS * VECTOR)

// Row o of the target, from `to_start` on, is row o of the source from `from_start` on, `run` elements
// long; rows lie `to_row` and `from_row` apart.
KERNEL __launch_bounds__(256) copy(u32 count, u32 run, const FROM* __restrict__ x, u32 from_row, u32 from_start,
                                   TO* __restrict__ y, u32 to_row, u32 to_start) {
    FOR_EACH_VECTOR(i, count) {
        u32 row = i / run, at = i % run;
        float values[VECTOR];
        load_vector<VECTOR>(x + row * from_row + from_start + at, values);
        store_vector<VECTOR>(y + row * to_row + to_start + at, values);
    }
}

// Rows of `run` elements, with zeros before and after: the target's are `to_row` long.
KERNEL __launch_bounds__(256) pad(u32 count, u32 run, const FROM* __restrict__ x, TO* __restrict__ y, u32 to_row, u32 start) {
    FOR_EACH_VECTOR(i, count) {
        u32 row = i / to_row, at = i % to_row;
        float values[VECTOR];
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = 0;
        if (at >= start && at < start + run) load_vector<VECTOR>(x + row * run + at - start, values);
        store_vector<VECTOR>(y + i, values);
    }
}

// y[o, i] = the mean of x[o, l, i] over l < length. Blocks: (tiles of 32 i, o).
KERNEL __launch_bounds__(256) mean(u32 outers, int length, int inner, const FROM* __restrict__ x, TO* __restrict__ y) {
    int lane = (int)threadIdx.x % 32, group = (int)threadIdx.x / 32;
    int i = (int)blockIdx.x * 32 + lane;
    u64 outer = blockIdx.y + (u64)blockIdx.z * gridDim.y;
    if (outer >= outers) return;
    float sum = 0;
    if (i < inner) {
        for (int l = group; l < length; l += THREADS / 32) sum += load(x[(outer * length + l) * inner + i]);
    }
    __shared__ float sums[THREADS / 32][32];
    sums[group][lane] = sum;
    __syncthreads();
    if (group == 0 && i < inner) {
        sum = 0;
#pragma unroll
        for (int g = 0; g < THREADS / 32; g++) sum += sums[g][lane];
        store(y[outer * inner + i], sum * (1.0f / length));
    }
}

// dx[o, l, i] = dy[o, i] / length.
KERNEL __launch_bounds__(256) mean_gradient(u32 count, u32 length, u32 inner, const FROM* __restrict__ dy, TO* __restrict__ dx) {
    float factor = 1.0f / length;
    FOR_EACH_VECTOR(i, count) {
        float values[VECTOR];
        load_vector<VECTOR>(dy + i / (length * inner) * inner + i % inner, values);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] *= factor;
        store_vector<VECTOR>(dx + i, values);
    }
}

// The source element of index i: i is written in the target's axes, of these sizes, the last first,
// and each digit counts for the axis' stride in the source.
struct Axes {
    u32 size[8], stride[8];
};

__device__ __forceinline__ u32 source(u32 index, const Axes& axes) {
    u32 from = 0;
#pragma unroll
    for (int axis = 0; axis < 8; axis++) {
        from += index % axes.size[axis] * axes.stride[axis];
        index /= axes.size[axis];
    }
    return from;
}

// y's axes are x's in another order. The last axis of both is the same when VECTOR is not 1.
KERNEL __launch_bounds__(256) permute(u32 count, u32 n0, u32 s0, u32 n1, u32 s1, u32 n2, u32 s2, u32 n3, u32 s3, u32 n4,
                                      u32 s4, u32 n5, u32 s5, u32 n6, u32 s6, u32 n7, u32 s7, const FROM* __restrict__ x,
                                      TO* __restrict__ y) {
    Axes axes = {{n0, n1, n2, n3, n4, n5, n6, n7}, {s0, s1, s2, s3, s4, s5, s6, s7}};
    FOR_EACH_VECTOR(i, count) {
        float values[VECTOR];
        load_vector<VECTOR>(x + source(i, axes), values);
        store_vector<VECTOR>(y + i, values);
    }
}

// An axis, of these sizes in the target and in the source, along which entries move on by so many places: cyclically, or
// zeros enter.
struct Moved {
    int to, from, by;
    u32 cyclic;
};

// The axes, the last first. All that moves along the last is in whole vectors.
KERNEL __launch_bounds__(256) translate(u32 count, int t0, int f0, int b0, u32 c0, int t1, int f1, int b1, u32 c1, int t2,
                                        int f2, int b2, u32 c2, int t3, int f3, int b3, u32 c3, const FROM* __restrict__ x,
                                        TO* __restrict__ y) {
    Moved axes[4] = {{t0, f0, b0, c0}, {t1, f1, b1, c1}, {t2, f2, b2, c2}, {t3, f3, b3, c3}};
    FOR_EACH_VECTOR(i, count) {
        int index = (int)i, from = 0, stride = 1;
        bool inside = true;
#pragma unroll
        for (int axis = 0; axis < 4; axis++) {
            int at = index % axes[axis].to - axes[axis].by;
            if (at < 0 && axes[axis].cyclic) at += axes[axis].from;
            inside = inside && at >= 0 && at < axes[axis].from;
            from += at * stride;
            index /= axes[axis].to;
            stride *= axes[axis].from;
        }
        float values[VECTOR];
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = 0;
        if (inside) load_vector<VECTOR>(x + from, values);
        store_vector<VECTOR>(y + i, values);
    }
}

// y[b, c, r] = x[b, r, c]. Blocks: (tiles of 32 c, tiles of 32 r, as many b as there is room for).
KERNEL __launch_bounds__(256) transpose(u32 batch, int rows, int columns, const FROM* __restrict__ x, TO* __restrict__ y) {
    __shared__ float tile[32][33];
    int lane = (int)threadIdx.x % 32, group = (int)threadIdx.x / 32;
    int first_row = (int)blockIdx.y * 32, first_column = (int)blockIdx.x * 32;
    for (u32 b = blockIdx.z; b < batch; b += gridDim.z) {
        u64 start = (u64)b * rows * columns;
        __syncthreads();
        for (int i = group; i < 32; i += THREADS / 32) {
            int row = first_row + i, column = first_column + lane;
            if (row < rows && column < columns) tile[i][lane] = load(x[start + (u64)row * columns + column]);
        }
        __syncthreads();
        for (int i = group; i < 32; i += THREADS / 32) {
            int row = first_row + lane, column = first_column + i;
            if (row < rows && column < columns) store(y[start + (u64)column * rows + row], tile[lane][i]);
        }
    }
}
