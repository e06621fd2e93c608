// What moves from one training step to the next.
#include "common.cuh"

// The state of the step after this one, whose batch took `batch` of the epoch's `images`. The optimizer's numbers are
// in a table, `scalars` of them a step; the last row holds on. `ahead` has the place of the step's images that comes after
// that, if it is of the same epoch: `usual` are a batch. Where *stop is not zero, nothing moves.
KERNEL advance(StepState* state, StepState* ahead, const u32* stop, u32 batch, u32 usual, u32 images, const float* table,
               u32 rows, u32 scalars) {
    if (*stop != 0) return;
    ahead->step++;
    ahead->position = min(ahead->position + usual, images);
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
