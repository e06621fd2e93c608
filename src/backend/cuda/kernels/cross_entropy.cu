// Softmax cross-entropy of each row with its label, its gradient, and the counts of right answers.
// Definitions: LOGITS, GRADIENT the types of logits and of their gradient; SMOOTHED: targets are;
// MIXED: targets are of two labels; PER_CLASS: binary cross-entropy of each class; CLASS_WEIGHTS: what the loss of a label is
// multiplied by, as bits of floats.
#include "common.cuh"

#ifndef SMOOTHED
#define SMOOTHED 0
#endif
#ifndef MIXED
#define MIXED 0
#endif
#ifndef PER_CLASS
#define PER_CLASS 0
#endif

#ifdef CLASS_WEIGHTS
__device__ const u32 class_weights[] = {CLASS_WEIGHTS};
#endif

// A warp for each row: loss[r] = log sum exp(logits[r, :]) - sum target[r, :] logits[r, :], and unless null
// gradient[r, :] = (softmax(logits[r, :]) - target[r, :]) scale, where the target is one_hot(label) or, SMOOTHED,
// (1 - smoothing) one_hot(label) + smoothing / classes. MIXED, labels are [rows, 3], the label, another and
// the weight (as float) of the first: weight one_hot(label) + (1 - weight) one_hot(other) stands for
// one_hot(label). PER_CLASS, loss[r] = sum (softplus(logits[r, :]) - target[r, :] logits[r, :]) / classes, and the gradient
// is (sigmoid(logits[r, :]) - target[r, :]) scale / classes. places[r]: how many logits come
// before the label's, the first of equal ones first (bits 0 to 15) and how many are larger (bits 16
// to 31), both at most 65535; all bits if the label's logit is not finite.
KERNEL __launch_bounds__(128) rows(int rows, int classes, const LOGITS* __restrict__ logits,
                                   const u32* __restrict__ labels, float scale, GRADIENT* gradient,
                                   float* __restrict__ losses, u32* __restrict__ places
#if SMOOTHED
                                   ,
                                   float smoothing
#endif
) {
    int row = (int)blockIdx.x * 4 + (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    if (row >= rows) return;
    const LOGITS* x = logits + (u64)row * classes;
#if MIXED
    int label = (int)labels[3 * row], other = (int)labels[3 * row + 1];
    float weight = __uint_as_float(labels[3 * row + 2]);
#else
    int label = (int)labels[row];
#endif
#ifdef CLASS_WEIGHTS
    // The loss is linear in the target: two labels with weights of their own are one weight and another share.
    float of_row = __uint_as_float(class_weights[label]);
#if MIXED
    float first = weight * of_row;
    of_row = first + (1.0f - weight) * __uint_as_float(class_weights[other]);
    if (of_row > 0.0f) weight = first / of_row;
#endif
    scale *= of_row;
#else
    constexpr float of_row = 1.0f;
#endif
    float own = load(x[label]);
    float largest = NEGATIVE_INFINITY;
    u32 before = 0, larger = 0;
    for (int i = lane; i < classes; i += 32) {
        float value = load(x[i]);
        largest = fmaxf(largest, value);
        larger += value > own;
        before += value > own || (value == own && i < label);
    }
    largest = warp_max(largest);
    larger = warp_sum(larger);
    before = warp_sum(before);
    float sum = 0;
#if PER_CLASS
    // What each class' loss is measured from.
    largest = 0;
    scale /= classes;
    for (int i = lane; i < classes; i += 32) {
        float value = load(x[i]);
        sum += fmaxf(value, 0.0f) + log1pf(expf(value < 0 ? value : -value));
    }
#else
    for (int i = lane; i < classes; i += 32) sum += expf(load(x[i]) - largest);
#endif
    sum = warp_sum(sum);
    float away = largest - own;
#if MIXED
    away = weight * away + (1.0f - weight) * (largest - load(x[other]));
#endif
#if SMOOTHED
    float all = 0;
    for (int i = lane; i < classes; i += 32) all += largest - load(x[i]);
    away = (1.0f - smoothing) * away + smoothing * (warp_sum(all) / classes);
#endif
    if (lane == 0) {
#if PER_CLASS
        losses[row] = (sum + away) / classes * of_row;
#else
        losses[row] = (logf(sum) + away) * of_row;
#endif
        bool finite = (__float_as_uint(own) & 0x7F800000u) != 0x7F800000u;
        places[row] = finite ? min(before, 0xFFFFu) | min(larger, 0xFFFFu) << 16 : 0xFFFFFFFFu;
    }
    if (gradient) {
        float factor = scale / sum;
        for (int i = lane; i < classes; i += 32) {
#if PER_CLASS
            float value = scale / (1.0f + expf(-load(x[i])));
#else
            float value = expf(load(x[i]) - largest) * factor;
#endif
#if SMOOTHED
            value -= scale * (smoothing / classes);
            float share = scale * (1.0f - smoothing);
#else
            float share = scale;
#endif
#if MIXED
            if (i == other) value -= share * (1.0f - weight);
            share *= weight;
#endif
            store(gradient[(u64)row * classes + i], i == label ? value - share : value);
        }
    }
}

struct Metrics {
    double loss_sum;
    u32 images;
    u32 correct;
    u32 among_first;
    u32 bad;
};

// The mean of the losses, and the sums of an epoch so far; one block. A loss that is not finite sets
// *stop to 1 and metrics->bad to 1 + the iteration, and leaves the sums; so does everything after it.
KERNEL __launch_bounds__(256) finish(int rows, u32 first, const float* __restrict__ losses, const u32* __restrict__ places,
                                     const StepState* state, float* loss, Metrics* metrics, u32* stop) {
    __shared__ double sums[256];
    __shared__ u32 corrects[256], firsts[256];
    double sum = 0;
    u32 correct = 0, among_first = 0;
    for (int row = threadIdx.x; row < rows; row += 256) {
        sum += losses[row];
        correct += (places[row] & 0xFFFFu) == 0;
        among_first += places[row] >> 16 < first && places[row] != 0xFFFFFFFFu;
    }
    sums[threadIdx.x] = sum;
    corrects[threadIdx.x] = correct;
    firsts[threadIdx.x] = among_first;
    for (int half = 128; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) {
            sums[threadIdx.x] += sums[threadIdx.x + half];
            corrects[threadIdx.x] += corrects[threadIdx.x + half];
            firsts[threadIdx.x] += firsts[threadIdx.x + half];
        }
    }
    if (threadIdx.x != 0) return;
    float mean = (float)(sums[0] / rows);
    *loss = mean;
    if (*stop != 0) return;
    if ((__float_as_uint(mean) & 0x7F800000u) == 0x7F800000u) {
        *stop = 1;
        metrics->bad = state->iteration + 1;
        return;
    }
    metrics->loss_sum += sums[0];
    metrics->images += rows;
    metrics->correct += corrects[0];
    metrics->among_first += firsts[0];
}
