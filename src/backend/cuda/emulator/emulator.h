// CUDA C++ on the host, for tests: one fibre per thread of a block, blocks one after the other. A
// fibre runs until it meets a barrier or a warp-wide instruction, and goes on when all that take
// part have come. Registers of other lanes are read from slots; two sets of slots alternate, so one
// meeting per instruction is enough.
#pragma once
#define VITX_EMULATOR

// No more headers than these, and none of C++: they would take longer to compile than the kernels.
#include <setjmp.h>
#include <ucontext.h>

extern "C" {
int dprintf(int, const char*, ...);
float sqrtf(float), expf(float), exp2f(float), logf(float), log1pf(float), log2f(float), erff(float), tanhf(float), floorf(float);
double exp(double), sin(double), cos(double);
float fmaxf(float, float), fabsf(float);
double sqrt(double), pow(double, double), floor(double);
void sincosf(float, float*, float*);
}

// Not by its own name, which may be one of the C library's.
#define KERNEL static void
#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
// Blocks run one at a time, so what a block shares is static.
#define __shared__ static
#define __constant__ static const

struct Dim3 {
    unsigned x, y, z;
};

static Dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace emulator {

constexpr unsigned WARP = 32, MOST_THREADS = 1024, MOST_SHARED = 256 << 10;
// Of a fibre: kernels keep at most a few kilobytes on their stack.
constexpr unsigned STACK = 128 << 10;

struct Fibre {
    ucontext_t context;
    jmp_buf jump;
    char* stack;
    Dim3 index;
    unsigned id;
    bool started, finished;
    // Meetings that this fibre has come to, of its block and of its warp.
    unsigned long block_meetings, warp_meetings;
};

struct Warp {
    unsigned lanes;
    unsigned long arrived;
    // Of a lane, for the even and the odd meetings.
    unsigned char slots[2][WARP][32];
};

static Fibre fibres[MOST_THREADS];
static Warp warps[MOST_THREADS / WARP];
static unsigned long block_arrived;
static unsigned alive;
static Fibre* current;
static jmp_buf scheduler;
alignas(128) static unsigned char shared[MOST_SHARED];
static void (*body)(void**);
static void** arguments;

static void yield() {
    if (!_setjmp(current->jump)) _longjmp(scheduler, 1);
}

static void meet_block() {
    current->block_meetings++;
    block_arrived++;
    while (block_arrived < current->block_meetings * alive) yield();
}

// All lanes of a warp meet; those that exist take part, whatever the mask says.
static Warp& meet_warp() {
    Warp& warp = warps[current->id / WARP];
    warp.arrived++;
    current->warp_meetings++;
    while (warp.arrived < current->warp_meetings * warp.lanes) yield();
    return warp;
}

static unsigned lane() { return current->id % WARP; }

// Puts a value where the other lanes see it, and gives the slots of all lanes.
template <typename T> static unsigned char (*exchange(const T& value))[32] {
    static_assert(sizeof(T) <= 32, "a slot is 32 bytes");
    Warp& warp = warps[current->id / WARP];
    unsigned char(*slots)[32] = warp.slots[current->warp_meetings % 2];
    __builtin_memcpy(slots[lane()], &value, sizeof(T));
    meet_warp();
    return slots;
}

template <typename T> static T from_lane(unsigned char (*slots)[32], unsigned lane) {
    T value;
    __builtin_memcpy(&value, slots[lane], sizeof(T));
    return value;
}

static void run_fibre() {
    for (;;) {
        body(arguments);
        current->finished = true;
        yield();
    }
}

// Every other block runs its threads in the opposite order: whoever lacks a barrier is found out.
static bool backwards;

static unsigned long meetings(unsigned threads) {
    unsigned long met = block_arrived;
    for (unsigned i = 0; i * WARP < threads; i++) met += warps[i].arrived;
    return met;
}

static void run_block(unsigned threads) {
    backwards = !backwards;
    alive = threads;
    block_arrived = 0;
    for (unsigned i = 0; i * WARP < threads; i++) {
        warps[i].arrived = 0;
        warps[i].lanes = threads - i * WARP < WARP ? threads - i * WARP : WARP;
    }
    for (unsigned i = 0; i < threads; i++) {
        fibres[i].finished = false;
        fibres[i].block_meetings = fibres[i].warp_meetings = 0;
    }
    unsigned left = threads;
    while (left > 0) {
        unsigned long before = meetings(threads);
        unsigned left_before = left;
        for (unsigned i = 0; i < threads; i++) {
            Fibre& fibre = fibres[backwards ? threads - 1 - i : i];
            if (fibre.finished) continue;
            current = &fibre;
            threadIdx = fibre.index;
            if (!_setjmp(scheduler)) {
                if (fibre.started) _longjmp(fibre.jump, 1);
                fibre.started = true;
                setcontext(&fibre.context);
            }
            if (current->finished) left--;
        }
        if (left == left_before && before == meetings(threads)) {
            dprintf(2, "emulator: threads of a block wait for one another for ever\n");
            __builtin_abort();
        }
    }
}

static void launch(void (*kernel)(void**), void** args, const unsigned* grid, const unsigned* block, unsigned bytes) {
    unsigned threads = block[0] * block[1] * block[2];
    if (threads > MOST_THREADS || bytes > MOST_SHARED) {
        dprintf(2, "emulator: %u threads, %u bytes of shared memory\n", threads, bytes);
        __builtin_abort();
    }
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    body = kernel;
    arguments = args;
    // Not what the last launch left: a kernel that reads what it did not write is found out.
    __builtin_memset(shared, 0xFF, bytes);
    for (unsigned i = 0; i < threads; i++) {
        Fibre& fibre = fibres[i];
        fibre.id = i;
        fibre.index = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
        if (!fibre.stack) {
            fibre.stack = new char[STACK];
            getcontext(&fibre.context);
            fibre.context.uc_stack.ss_sp = fibre.stack;
            fibre.context.uc_stack.ss_size = STACK;
            fibre.context.uc_link = nullptr;
            makecontext(&fibre.context, run_fibre, 0);
        }
    }
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                run_block(threads);
            }
}

// A type without its const, the numbers 0 to N - 1, and the letter of a parameter's type.
template <typename T> struct Plain {
    typedef T type;
    static constexpr char letter = '?';
};
template <typename T> struct Plain<const T> : Plain<T> {};
template <typename T> struct Plain<T*> {
    typedef T* type;
    static constexpr char letter = 'p';
};
template <> struct Plain<int> {
    typedef int type;
    static constexpr char letter = 'i';
};
template <> struct Plain<unsigned> {
    typedef unsigned type;
    static constexpr char letter = 'u';
};
template <> struct Plain<unsigned long long> {
    typedef unsigned long long type;
    static constexpr char letter = 'l';
};
template <> struct Plain<float> {
    typedef float type;
    static constexpr char letter = 'f';
};

template <unsigned... I> struct Numbers {};
template <unsigned N, unsigned... I> struct Count : Count<N - 1, N - 1, I...> {};
template <unsigned... I> struct Count<0, I...> {
    typedef Numbers<I...> type;
};

// Calls a kernel with arguments read from where the pointers point.
template <typename... T, unsigned... I> static void call(void (*kernel)(T...), void** args, Numbers<I...>) {
    kernel(*static_cast<typename Plain<T>::type*>(args[I])...);
}

template <typename... T> static void call(void (*kernel)(T...), void** args) {
    call(kernel, args, typename Count<sizeof...(T)>::type());
}

// The types of a kernel's parameters, a letter each.
template <typename... T> static const char* letters(void (*)(T...)) {
    static const char text[] = {Plain<T>::letter..., 0};
    return text;
}

}  // namespace emulator

// `vitx_parameters_KERNEL` tells the types of the parameters, `vitx_launch_KERNEL` runs a grid.
#define EMULATED_ENTRY(kernel)                                                                                       \
    extern "C" const char* vitx_parameters_##kernel() { return emulator::letters(kernel); }                          \
    extern "C" void vitx_launch_##kernel(void** args, const unsigned* grid, const unsigned* block, unsigned bytes) { \
        emulator::launch([](void** args) { emulator::call(kernel, args); }, args, grid, block, bytes);               \
    }

static inline void __syncthreads() { emulator::meet_block(); }
static inline void __syncwarp(unsigned = 0xFFFFFFFFu) { emulator::meet_warp(); }

template <typename T> static T __shfl_xor_sync(unsigned, T value, int mask) {
    unsigned lane = emulator::lane();
    return emulator::from_lane<T>(emulator::exchange(value), lane ^ mask);
}

template <typename T> static T __shfl_sync(unsigned, T value, int source) {
    return emulator::from_lane<T>(emulator::exchange(value), source % emulator::WARP);
}

#define DYNAMIC_SHARED(name) unsigned char* name = emulator::shared

static inline float __uint_as_float(unsigned bits) {
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    __builtin_memcpy(&bits, &value, 4);
    return bits;
}

static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
// Blocks run one at a time, and a thread until it meets others.
static inline unsigned atomicAdd(unsigned* at, unsigned value) {
    unsigned before = *at;
    *at += value;
    return before;
}
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float exp2_approximate(float x) { return exp2f(x); }
static inline float reciprocal_approximate(float x) { return 1.0f / x; }
static inline float reciprocal_sqrt_approximate(float x) { return 1.0f / sqrtf(x); }
template <typename T> static T __ldg(const T* from) { return *from; }
template <typename T> static T min(T a, T b) { return a < b ? a : b; }
template <typename T> static T max(T a, T b) { return a < b ? b : a; }

static inline unsigned short to_bf16_bits(float value) {
    unsigned bits = __float_as_uint(value);
    if (value != value) return 0x7FFF;
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

static inline unsigned pack_bf16(float low, float high) {
    return to_bf16_bits(low) | static_cast<unsigned>(to_bf16_bits(high)) << 16;
}

static inline float bf16_half(unsigned pair, unsigned half) { return __uint_as_float(half ? pair & 0xFFFF0000u : pair << 16); }

static inline void mma_16x8x16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    struct Operands {
        unsigned a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    auto slots = emulator::exchange(mine);
    unsigned lane = emulator::lane(), g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = g + 8 * (i / 2), column = 2 * t + i % 2;
        float sum = d[i];
        for (unsigned k = 0; k < 16; k++) {
            // The pair (row, k) lies with lane (row % 8, k % 8 / 2), by its quarter in register 0 to 3.
            auto of_a = emulator::from_lane<Operands>(slots, row % 8 * 4 + k % 8 / 2);
            auto of_b = emulator::from_lane<Operands>(slots, column * 4 + k % 8 / 2);
            sum += bf16_half(of_a.a[row / 8 + 2 * (k / 8)], k % 2) * bf16_half(of_b.b[k / 8], k % 2);
        }
        d[i] = sum;
    }
}

// Copies are done at once: a kernel that does not wait for them is not found out.
static inline void copy_async(void* to, const void* from, bool wanted) {
    if (wanted) __builtin_memcpy(to, from, 16);
    else __builtin_memset(to, 0, 16);
}
static inline void loads_begun() {}
template <int ALLOWED> static void loads_done() {}

template <typename T> static void load_matrices(unsigned (&r)[4], const T* row) {
    auto slots = emulator::exchange(row);
    unsigned lane = emulator::lane();
    for (unsigned i = 0; i < 4; i++) {
        auto from = emulator::from_lane<const T*>(slots, 8 * i + lane / 4);
        __builtin_memcpy(&r[i], from + 2 * (lane % 4), 4);
    }
}

template <typename T> static void load_matrices_transposed(unsigned (&r)[4], const T* row) {
    auto slots = emulator::exchange(row);
    unsigned lane = emulator::lane();
    for (unsigned i = 0; i < 4; i++) {
        unsigned short pair[2];
        for (unsigned j = 0; j < 2; j++) {
            auto from = emulator::from_lane<const T*>(slots, 8 * i + 2 * (lane % 4) + j);
            __builtin_memcpy(&pair[j], from + lane / 4, 2);
        }
        r[i] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
    }
}
