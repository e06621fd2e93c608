// What moves from one training step to the next.
#include "common.cuh"

// The state of the step after this one, whose batch took `batch` of the epoch's `images`. The optimizer's numbers are
// in a table, `scalars` of them a step; the last row holds on. Where *stop is not zero, nothing moves.
KERNEL advance(StepState* state, const u32* stop, u32 batch, u32 images, const float* table, u32 rows, u32 scalars) {
    if (*stop != 0) return;
    StepState next = *state;
    next.iteration++;
    next.step++;
    next.position += batch;
    if (next.position >= images) {
        next.epoch++;
        next.step = 0;
        next.position = 0;
    }
    const float* row = table + (u64)min(next.iteration, rows - 1) * scalars;
    for (u32 i = 0; i < scalars; i++) next.scalars[i] = row[i];
    *state = next;
}

constexpr int DRAWS = 1024;

// The order of the state's epoch plus `ahead`, 0 to count - 1 shuffled as `src/data/order.rs` does it.
// One block. IN_SHARED: the order is made in shared memory, as 16-bit numbers.
KERNEL __launch_bounds__(256) shuffle(const StepState* state, u32 ahead, u32 count, u32 key_low, u32 key_high, u32* order) {
#if IN_SHARED
    DYNAMIC_SHARED(memory);
    u16* places = reinterpret_cast<u16*>(memory);
#else
    u32* places = order;
#endif
    __shared__ u32 draws[DRAWS];
    u32 epoch = state->epoch + ahead;
    for (u32 i = threadIdx.x; i < count; i += 256) places[i] = i;
    // Swaps depend on one another; only what they draw is made side by side.
    for (u32 end = count; end > 1;) {
        u32 length = min(end - 1, (u32)DRAWS);
        __syncthreads();
        for (u32 k = threadIdx.x; k < length; k += 256) {
            u32 i = end - 1 - k;
            Block words = philox(key_low, key_high, i, 0, epoch, 0);
            // The upper half of (64-bit word) x (i + 1).
            u64 low = (u64)words.word[0] * (i + 1), high = (u64)words.word[1] * (i + 1);
            draws[k] = (u32)((high + (low >> 32)) >> 32);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            for (u32 k = 0; k < length; k++) {
                u32 i = end - 1 - k, j = draws[k];
                auto held = places[i];
                places[i] = places[j];
                places[j] = held;
            }
        }
        end -= length;
    }
#if IN_SHARED
    __syncthreads();
    for (u32 i = threadIdx.x; i < count; i += 256) order[i] = places[i];
#endif
}
