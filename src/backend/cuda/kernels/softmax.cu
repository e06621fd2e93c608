// Softmax over rows and its gradient: a warp for each row. Definitions: ACT the activations' type.
#include "common.cuh"

// y = softmax(x).
KERNEL __launch_bounds__(128) forward(int rows, int width, const ACT* x, ACT* y) {
    int row = (int)blockIdx.x * 4 + (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    if (row >= rows) return;
    x += (u64)row * width;
    y += (u64)row * width;
    float largest = NEGATIVE_INFINITY, sum = 0;
    for (int i = lane; i < width; i += 32) largest = fmaxf(largest, load(x[i]));
    largest = warp_max(largest);
    for (int i = lane; i < width; i += 32) sum += expf(load(x[i]) - largest);
    float factor = 1.0f / warp_sum(sum);
    for (int i = lane; i < width; i += 32) store(y[i], expf(load(x[i]) - largest) * factor);
}

// dx = y (dy - sum(y dy)).
KERNEL __launch_bounds__(128) backward(int rows, int width, const ACT* dy, const ACT* y, ACT* dx) {
    int row = (int)blockIdx.x * 4 + (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    if (row >= rows) return;
    dy += (u64)row * width;
    y += (u64)row * width;
    dx += (u64)row * width;
    float sum = 0;
    for (int i = lane; i < width; i += 32) sum += load(y[i]) * load(dy[i]);
    sum = warp_sum(sum);
    for (int i = lane; i < width; i += 32) store(dx[i], load(y[i]) * (load(dy[i]) - sum));
}
