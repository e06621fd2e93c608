// Sines and cosines of positions, added to x [batch, positions, dim]: src/graph/ops/sinusoid.rs has the formulas.
// Definitions: FROM, TO types of the input and of the result. One thread an element. Angles are in float64: those of far
// positions are large.
#include "common.cuh"

constexpr int THREADS = 256;

#define FOR_EACH(i, count) for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS)

// The wave of a number at an exponent of the longest length.
__device__ __forceinline__ float wave(u32 at, double exponent, bool cosine) {
    double angle = at * exp(-9.210340371976184 * exponent);
    return (float)(cosine ? cos(angle) : sin(angle));
}

KERNEL __launch_bounds__(256) add_line(u32 count, u32 positions, u32 dim, u32 columns, const FROM* __restrict__ x, TO* __restrict__ y) {
    FOR_EACH(i, count) {
        u32 entry = i % dim, position = i / dim % positions;
        store(y[i], load(x[i]) + wave(position, (double)(entry / 2 * 2) / dim, entry % 2 == 1));
    }
}

KERNEL __launch_bounds__(256) add_grid(u32 count, u32 positions, u32 dim, u32 columns, const FROM* __restrict__ x, TO* __restrict__ y) {
    u32 quarter = dim / 4;
    FOR_EACH(i, count) {
        u32 entry = i % dim, position = i / dim % positions, part = entry / quarter;
        u32 at = part < 2 ? position / columns : position % columns;
        store(y[i], load(x[i]) + wave(at, (double)(entry % quarter) / quarter, part % 2 == 1));
    }
}
