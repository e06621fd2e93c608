// Rotary position embeddings of [.., tokens, heads DIM] on a grid. Definitions: FROM, TO types of the input and of the
// result; TOKENS, of which the first SKIPPED stay; COLUMNS of the grid; WIDTH of a token, DIM of a head; EXPONENT of the
// frequencies, in powers of two; SIGN of the angles. One thread a pair of channels.
#include "common.cuh"

constexpr int THREADS = 256;

KERNEL __launch_bounds__(256) rope(u32 count, const FROM* x, TO* y) {
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        int pair = i % (DIM / 2);
        int token = (int)(i / (WIDTH / 2) % TOKENS) - SKIPPED;
        float cosine = 1.0f, sine = 0.0f;
        if (token >= 0) {
            int position = pair < DIM / 4 ? token / COLUMNS : token % COLUMNS;
            sincosf((float)position * exp2f(EXPONENT * (float)(pair % (DIM / 4))), &sine, &cosine);
            sine *= SIGN;
        }
        float even = load(x[2 * i]), odd = load(x[2 * i + 1]);
        store(y[2 * i], even * cosine - odd * sine);
        store(y[2 * i + 1], odd * cosine + even * sine);
    }
}
