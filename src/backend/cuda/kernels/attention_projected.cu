// Attention of tokens among themselves by tensor cores, with the projections in the kernel: one block for an image,
// which goes from head to head. Where projections have been multiplied with each other (passes::Reassociate), the
// tokens x are the keys of all heads, and the heads' outputs are added. So x is loaded once, and only the kernels of
// the projections are per head. Definitions: as of mma.cuh and attention.cuh, but for steps between heads; KEY_DIM =
// VALUE_DIM, SOURCES = TOKENS; BLOCKS that share a multiprocessor; TOGETHER heads that the forward pass does at a time.
//
// The block does image blockIdx.x. x, out, dout and dx are [batch, tokens, DIM] in rows of some length; kernels [DIM,
// heads DIM], heads side by side, and so dq and dv [batch, tokens, heads DIM]. A warp's rows are 16 tokens.
#include "attention.cuh"

constexpr u32 SIGN = 0x80000000u;
constexpr int DIM = KEY_DIM, WIDTH = KEYS, PITCH = KEY_PITCH;
constexpr int ROWS = ALL_TOKENS;
// From one part of an operand to the next.
constexpr int PLANE = ROWS * PITCH, KERNEL_PLANE = WIDTH * PITCH;
// Of weights and of gradients of scores, [tokens, sources].
constexpr int SCORE_PITCH = ALL_TOKENS + 8, SCORE_PLANE = ROWS * SCORE_PITCH;

// A head's columns of a kernel.
__device__ __forceinline__ void load_kernel(bf16* to, const ACT* __restrict__ kernel, u32 row, int head) {
    constexpr int COLUMNS = WIDTH / VECTOR;
#pragma unroll 1
    for (int i = anew((int)threadIdx.x); i < WIDTH * COLUMNS; i += THREADS) {
        int r = i / COLUMNS, c = i % COLUMNS * VECTOR;
        bool there = r < DIM && c < DIM;
        load_parts(to + r * PITCH + c, KERNEL_PLANE, kernel + (there ? r * row + head * DIM + c : 0), there);
    }
}

// A warp's 16 rows times a head's kernel, and its bias.
__device__ __forceinline__ void project(float (&c)[WIDTH / 8][4], const bf16* rows, const bf16* kernel,
                                        const float* __restrict__ bias, int head) {
    int t = (int)threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int column = 8 * n + 2 * t + i;
            c[n][i] = c[n][i + 2] = bias && column < DIM ? bias[head * DIM + column] : 0.0f;
        }
    }
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) {
        u32 a[PARTS][4];
        left<PITCH>(a, rows, PLANE, k);
        times_rows<WIDTH>(c, a, kernel + 16 * k * PITCH, KERNEL_PLANE);
    }
}

// What products left in a warp as left operands.
__device__ __forceinline__ void operands(u32 (&a)[WIDTH / 16][PARTS][4], const float (&c)[WIDTH / 8][4]) {
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) operand(a[k], c[2 * k], c[2 * k + 1]);
}

// A warp's rows += a bias [DIM] times a factor of each row, g and g + 8 of a lane.
__device__ __forceinline__ void add_bias(float (&c)[WIDTH / 8][4], const float* __restrict__ bias, const float (&factors)[2], int t) {
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int column = 8 * n + 2 * t + i % 2;
            if (column < DIM) c[n][i] += factors[i / 2] * bias[column];
        }
    }
}

// Weights are not negative, so what dropout leaves out is marked by the sign of the first part: as a gradient of scores
// it still counts.
__device__ __forceinline__ void drop_marked(u32 (&a)[PARTS][4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        u32 dropped = (a[0][i] >> 15 & 0x00010001u) * 0xFFFFu;
#pragma unroll
        for (int p = 0; p < PARTS; p++) a[p][i] &= ~dropped;
    }
}

// The kernels of heads that are done together.
constexpr int SEVERAL = TOGETHER * PARTS * KERNEL_PLANE;
__device__ __forceinline__ void load_kernels(bf16* to, const ACT* __restrict__ kernel, u32 row, int head) {
#pragma unroll
    for (int j = 0; j < TOGETHER; j++) load_kernel(to + j * PARTS * KERNEL_PLANE, kernel, row, head + j);
}

// A warp's queries of several heads times 16 tokens: all heads have the same keys, which are read once.
__device__ __forceinline__ void scores(float (&c)[TOGETHER][2][4], const u32 (&q)[TOGETHER][WIDTH / 16][PARTS][4], const bf16* x) {
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) {
        u32 b[PARTS][4];
        right_transposed<PITCH>(b, x, PLANE, k);
#pragma unroll
        for (int j = 0; j < TOGETHER; j++) multiply_parts(c[j][0], c[j][1], q[j][k], b);
    }
}

// Weights of 16 rows and several heads times 16 tokens.
__device__ __forceinline__ void add_tokens(Rows (&rows)[TOGETHER], const u32 (&a)[TOGETHER][PARTS][4], const bf16* x) {
#pragma unroll
    for (int n = 0; n < WIDTH / 16; n++) {
        u32 b[PARTS][4];
        right<PITCH>(b, x, PLANE, n);
#pragma unroll
        for (int j = 0; j < TOGETHER; j++) multiply_parts(rows[j].sums[2 * n], rows[j].sums[2 * n + 1], a[j], b);
    }
}

// out = bias + sum over heads of P (x B + b), where P = dropout(softmax(SCALE (x A + a) x^T)) and A, a, B, b are the
// head's: x meets the weights first, and what comes of it the kernel B, so that no values are in memory. logsum is the
// base-2 logarithm of each row's sum of exponentials, [batch, heads, tokens].
KERNEL __launch_bounds__(32 * WARPS, BLOCKS)
    forward(const ACT* __restrict__ x, u32 x_row, const ACT* __restrict__ kernel_a, u32 a_row, const float* __restrict__ bias_a,
            const ACT* __restrict__ kernel_b, u32 b_row, const float* __restrict__ bias_b, const u16* __restrict__ kept,
            float keep_scale, const float* __restrict__ bias, ACT* __restrict__ out, u32 out_row, float* __restrict__ logsum) {
    DYNAMIC_SHARED(memory);
    bf16* all_x = reinterpret_cast<bf16*>(memory);
    // Two of each: the next heads' arrive while these are read.
    bf16* all_a = all_x + PARTS * PLANE;
    bf16* all_b = all_a + 2 * SEVERAL;
    x += (u64)blockIdx.x * TOKENS * x_row;
    load_rows<ROWS, DIM, WIDTH>(all_x, x, x_row, 0, TOKENS);
    load_kernels(all_a, kernel_a, a_row, 0);
    load_kernels(all_b, kernel_b, b_row, 0);
    loads_begun();
    // The sums over heads lie in shared memory while tokens pass by: registers are short then.
    float* own_sums = reinterpret_cast<float*>(all_b + 2 * SEVERAL) + threadIdx.x;
#pragma unroll 1
    for (int h = 0; h < HEADS; h += TOGETHER) {
        u64 head = (u64)blockIdx.x * HEADS + h;
        int turn = h / TOGETHER % 2, t = anew((int)threadIdx.x % 4), row = anew((int)threadIdx.x / 32 * 16);
        const bf16* a_of_heads = all_a + turn * SEVERAL;
        const bf16* b_of_heads = all_b + turn * SEVERAL;
        loads_done<0>();
        // Nor does any warp read the other kernels any more.
        __syncthreads();
        if (h + TOGETHER < HEADS) {
            load_kernels(all_a + (turn ^ 1) * SEVERAL, kernel_a, a_row, h + TOGETHER);
            load_kernels(all_b + (turn ^ 1) * SEVERAL, kernel_b, b_row, h + TOGETHER);
            loads_begun();
        }
        u32 q[TOGETHER][WIDTH / 16][PARTS][4];
        Rows rows[TOGETHER];
        // The sums of the weights that stay, for the bias of the values.
        float weight[TOGETHER][2];
#pragma unroll
        for (int j = 0; j < TOGETHER; j++) {
            float c[WIDTH / 8][4];
            project(c, all_x + row * PITCH, a_of_heads + j * PARTS * KERNEL_PLANE, bias_a, h + j);
            operands(q[j], c);
            rows[j].clear();
            weight[j][0] = weight[j][1] = 0;
        }
#pragma unroll 1
        for (int source = 0; source < ALL_SOURCES; source += 16) {
            float c[TOGETHER][2][4] = {};
            scores(c, q, all_x + source * PITCH);
            u32 a[TOGETHER][PARTS][4];
#pragma unroll
            for (int j = 0; j < TOGETHER; j++) {
                rows[j].meet(c[j], source, row);
                if constexpr (DROPOUT) {
                    Stays stays(kept, head + j, row);
                    stays.read(source);
                    stays.drop(c[j][0], c[j][1]);
                }
#pragma unroll
                for (int i = 0; i < 4; i++) weight[j][i / 2] += c[j][0][i] + c[j][1][i];
                operand(a[j], c[j][0], c[j][1]);
            }
            add_tokens(rows, a, all_x + source * PITCH);
        }
        float sums[WIDTH / 8][4];
#pragma unroll
        for (int i = 0; i < WIDTH / 2; i++) sums[i / 4][i % 4] = h > 0 ? own_sums[i * THREADS] : 0.0f;
#pragma unroll
        for (int j = 0; j < TOGETHER; j++) {
            float factors[2];
            rows[j].finish(factors, keep_scale, logsum + (head + j) * TOKENS, row);
            const bf16* b = b_of_heads + j * PARTS * KERNEL_PLANE;
#pragma unroll
            for (int k = 0; k < WIDTH / 16; k++) {
                float(&low)[4] = rows[j].sums[2 * k], (&high)[4] = rows[j].sums[2 * k + 1];
#pragma unroll
                for (int i = 0; i < 4; i++) low[i] *= factors[i / 2], high[i] *= factors[i / 2];
                times<WIDTH>(sums, low, high, b + 16 * k * PITCH, KERNEL_PLANE);
            }
            if (bias_b) {
#pragma unroll
                for (int i = 0; i < 2; i++) factors[i] *= quad_sum(weight[j][i]);
                add_bias(sums, bias_b + (h + j) * DIM, factors, t);
            }
        }
        if (h + TOGETHER < HEADS) {
#pragma unroll
            for (int i = 0; i < WIDTH / 2; i++) own_sums[i * THREADS] = sums[i / 4][i % 4];
        } else {
            float ones[2] = {1, 1};
            if (bias) add_bias(sums, bias, ones, t);
            // All have read the tokens.
            __syncthreads();
            store_rows<DIM, WIDTH>(all_x + row * PITCH, sums, ones, out + (u64)blockIdx.x * TOKENS * out_row, out_row, row, TOKENS);
        }
    }
}

// dq and dv, the gradients of the projections x A + a and x B + b, and dx, that of x as the keys. A warp's rows are
// tokens, so that the gradients of all weights of a row are in its registers; then they are sources, and tokens pass
// by.
KERNEL __launch_bounds__(32 * WARPS, BLOCKS)
    backward(const ACT* __restrict__ x, u32 x_row, const ACT* __restrict__ kernel_a, u32 a_row, const float* __restrict__ bias_a,
             const ACT* __restrict__ kernel_b, u32 b_row, const float* __restrict__ bias_b, const u16* __restrict__ kept,
             float keep_scale, const ACT* __restrict__ dout, u32 dout_row, const float* __restrict__ logsum,
             ACT* __restrict__ dq, u32 dq_row, ACT* __restrict__ dx, u32 dx_row, ACT* __restrict__ dv, u32 dv_row) {
    DYNAMIC_SHARED(memory);
    bf16* all_x = reinterpret_cast<bf16*>(memory);
    bf16* all_dout = all_x + PARTS * PLANE;
    bf16* all_q = all_dout + PARTS * PLANE;
    bf16* all_v = all_q + PARTS * PLANE;
    // Weights, with the mark of what dropout leaves out, and gradients of scores.
    bf16* weights = all_v + PARTS * PLANE;
    bf16* scores = weights + PARTS * SCORE_PLANE;
    bf16* a_of_head = scores + PARTS * SCORE_PLANE;
    bf16* b_of_head = a_of_head + PARTS * KERNEL_PLANE;
    load_rows<ROWS, DIM, WIDTH>(all_x, x + (u64)blockIdx.x * TOKENS * x_row, x_row, 0, TOKENS);
    load_kernel(a_of_head, kernel_a, a_row, 0);
    load_kernel(b_of_head, kernel_b, b_row, 0);
    load_rows<ROWS, DIM, WIDTH>(all_dout, dout + (u64)blockIdx.x * TOKENS * dout_row, dout_row, 0, TOKENS);
    loads_begun();
    // Sums over heads lie in shared memory while rows are tokens: registers are short then.
    float* all_sums = reinterpret_cast<float*>(b_of_head + PARTS * KERNEL_PLANE);
    float scale = SCALE * keep_scale, scales[2] = {scale, scale}, of_values[2] = {keep_scale, keep_scale};
#pragma unroll 1
    for (int h = 0; h < HEADS; h++) {
        u64 image = (u64)anew((int)blockIdx.x), head = image * HEADS + h, first = image * TOKENS;
        int lane = anew((int)threadIdx.x % 32), g = lane / 4, t = lane % 4, row = anew((int)threadIdx.x / 32 * 16);
        int own_pair = (row + g) * PITCH + 2 * t, own_score = (row + g) * SCORE_PITCH + 2 * t;
        loads_done<0>();
        __syncthreads();
        u32 q[WIDTH / 16][PARTS][4];
        {
            float c[WIDTH / 8][4];
            project(c, all_x + row * PITCH, b_of_head, bias_b, h);
            operands(q, c);
#pragma unroll
            for (int k = 0; k < WIDTH / 16; k++) put<PITCH>(all_v + own_pair + 16 * k, PLANE, q[k]);
            project(c, all_x + row * PITCH, a_of_head, bias_a, h);
            operands(q, c);
#pragma unroll
            for (int k = 0; k < WIDTH / 16; k++) put<PITCH>(all_q + own_pair + 16 * k, PLANE, q[k]);
        }
        __syncthreads();
        if (h + 1 < HEADS) {
            load_kernel(a_of_head, kernel_a, a_row, h + 1);
            load_kernel(b_of_head, kernel_b, b_row, h + 1);
            loads_begun();
        }
        float row_logsum[2], delta[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int at = row + g + 8 * i;
            // Rows that are not there have no weights.
            row_logsum[i] = at < TOKENS ? logsum[head * TOKENS + at] : -NEGATIVE_INFINITY;
        }
        Stays stays(kept, head, row);
        u32 held[WIDTH / 16][PARTS][4];
        float d[ALL_SOURCES / 8][4] = {};
        hold<WIDTH>(held, all_dout + row * PITCH, PLANE);
#pragma unroll
        for (int s = 0; s < ALL_SOURCES / 16; s++) {
            stays.read(16 * s);
            // What is read early would take registers.
            __syncwarp();
            float c[2][4] = {};
            times_transposed<WIDTH, 1, true>(c, q, nullptr, 0, all_x + 16 * s * PITCH, PLANE);
            float(&of_weights)[2][4] = *reinterpret_cast<float(*)[2][4]>(d[2 * s]);
            times_transposed<WIDTH, 1, true>(of_weights, held, nullptr, 0, all_v + 16 * s * PITCH, PLANE);
            if constexpr (DROPOUT) stays.drop(d[2 * s], d[2 * s + 1]);
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int source = 16 * s + 8 * n + 2 * t + i % 2;
                    float weight = exp2_approximate(c[n][i] * SCALE_LOG2 - row_logsum[i / 2]);
                    if (SOURCES % 16 != 0 && source >= SOURCES) weight = 0;
                    if (DIAGONAL && source == row + g + i / 2 * 8) weight = 0;
                    c[n][i] = weight;
                    delta[i / 2] += weight * d[2 * s + n][i];
                }
            }
            u32 a[PARTS][4];
            operand(a, c[0], c[1]);
            if constexpr (DROPOUT) stays.mark(a[0]);
            put<SCORE_PITCH>(weights + own_score + 16 * s, SCORE_PLANE, a);
        }
        __syncwarp();
        delta[0] = quad_sum(delta[0]);
        delta[1] = quad_sum(delta[1]);
        float sums_q[WIDTH / 8][4] = {};
#pragma unroll
        for (int s = 0; s < ALL_SOURCES / 16; s++) {
            u32 own[PARTS][4];
#pragma unroll
            for (int p = 0; p < PARTS; p++)
                load_matrices(own[p], weights + p * SCORE_PLANE + (row + lane % 16) * SCORE_PITCH + 16 * s + lane / 16 * 8);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                // The mark of what dropout leaves out is the sign of the first part.
                float low = __uint_as_float(own[0][i] << 16 & ~SIGN), high = __uint_as_float(own[0][i] & 0x7FFF0000u);
#pragma unroll
                for (int p = 1; p < PARTS; p++) {
                    low += __uint_as_float(own[p][i] << 16);
                    high += __uint_as_float(own[p][i] & 0xFFFF0000u);
                }
                float(&of)[4] = d[2 * s + i / 2];
                of[i % 2 * 2] = low * (of[i % 2 * 2] - delta[i % 2]);
                of[i % 2 * 2 + 1] = high * (of[i % 2 * 2 + 1] - delta[i % 2]);
            }
            u32 a[PARTS][4];
            operand(a, d[2 * s], d[2 * s + 1]);
            put<SCORE_PITCH>(scores + own_score + 16 * s, SCORE_PLANE, a);
            times_rows<WIDTH>(sums_q, a, all_x + 16 * s * PITCH, PLANE);
        }
        __syncthreads();
        // Values have been read; what goes to memory passes through where the warp's own ones were.
        bf16* part = all_v + anew(row) * PITCH;
        store_rows<DIM, WIDTH>(part, sums_q, scales, dq + first * dq_row + h * DIM, dq_row, row, TOKENS);
        float* own_sums = all_sums + anew((int)threadIdx.x);
        int at = row + transposed_place<SCORE_PITCH>(lane);
        float sums_v[WIDTH / 8][4] = {}, sums_x[WIDTH / 8][4];
#pragma unroll
        for (int i = 0; i < WIDTH / 2; i++) sums_x[i / 4][i % 4] = h > 0 ? own_sums[i * THREADS] : 0.0f;
#pragma unroll 1
        for (int token = 0; token < ALL_TOKENS; token += 16) {
            u32 a[PARTS][4];
            left_transposed(a, weights + token * SCORE_PITCH + at, SCORE_PLANE);
            if constexpr (DROPOUT) drop_marked(a);
            times_rows<WIDTH>(sums_v, a, all_dout + token * PITCH, PLANE);
            left_transposed(a, scores + token * SCORE_PITCH + at, SCORE_PLANE);
            times_rows<WIDTH>(sums_x, a, all_q + token * PITCH, PLANE);
        }
        store_rows<DIM, WIDTH>(part, sums_v, of_values, dv + first * dv_row + h * DIM, dv_row, row, TOKENS);
        if (h + 1 < HEADS) {
#pragma unroll
            for (int i = 0; i < WIDTH / 2; i++) own_sums[i * THREADS] = sums_x[i / 4][i % 4];
        } else {
            store_rows<DIM, WIDTH>(part, sums_x, scales, dx + first * dx_row, dx_row, row, TOKENS);
        }
    }
}
