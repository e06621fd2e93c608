// CUDA's built-ins, and the instructions that `common.cuh` gives names to.
#pragma once

// Where the function that names it was called.
#define PLACE __builtin_return_address(0)
#define CALLED UNSEEN __attribute__((noinline))

// A kernel's access to memory that is not written as one: for whoever looks for races.
#ifdef VITX_RACES
#include "races.h"
#else
static inline void accessed(const void*, unsigned, bool, const void*) {}
static inline void accessed_atomically(const void*, unsigned, const void*) {}
#endif

UNSEEN static void __syncthreads() { emulator::meet_block(); }

// Alone among what a warp does together it orders the memory that its lanes write and read.
UNSEEN static void __syncwarp(unsigned = 0xFFFFFFFFu) {
    emulator::meet_warp("__syncwarp");
    emulator::current->warp_barriers++;
}

template <typename T> UNSEEN static T __shfl_xor_sync(unsigned, T value, int mask) {
    return emulator::from_lane<T>(emulator::exchange("__shfl_xor_sync", value), emulator::lane() ^ mask);
}

template <typename T> UNSEEN static T __shfl_sync(unsigned, T value, int source) {
    return emulator::from_lane<T>(emulator::exchange("__shfl_sync", value), source % emulator::WARP);
}

UNSEEN static inline int __any_sync(unsigned, int condition) {
    const auto& conditions = emulator::exchange("__any_sync", condition);
    int any = 0;
    for (int lane = 0; lane < (int)emulator::WARP; lane++) any |= emulator::from_lane<int>(conditions, lane);
    return any != 0;
}

#define DYNAMIC_SHARED(name) unsigned char* name = emulator::shared

UNSEEN static inline float __uint_as_float(unsigned bits) {
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}

UNSEEN static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    __builtin_memcpy(&bits, &value, 4);
    return bits;
}

static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float exp2_approximate(float x) { return exp2f(x); }
static inline float reciprocal_approximate(float x) { return 1.0f / x; }
static inline float reciprocal_sqrt_approximate(float x) { return 1.0f / sqrtf(x); }
template <typename T> static T __ldg(const T* from) { return *from; }
template <typename T> static T min(T a, T b) { return a < b ? a : b; }
template <typename T> static T max(T a, T b) { return a < b ? b : a; }

// Blocks run one at a time, and a thread until it meets others.
CALLED static unsigned atomicAdd(unsigned* at, unsigned value) {
    accessed_atomically(at, sizeof(unsigned), PLACE);
    unsigned before = *at;
    *at += value;
    return before;
}

UNSEEN static inline unsigned short to_bf16_bits(float value) {
    unsigned bits = __float_as_uint(value);
    if (value != value) return 0x7FFF;
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

static inline unsigned pack_bf16(float low, float high) {
    return to_bf16_bits(low) | static_cast<unsigned>(to_bf16_bits(high)) << 16;
}

namespace emulator {

// What a lane brings to a product of matrices: its registers, as `mma_16x8x16` in `common.cuh` says.
struct Operands {
    unsigned a[4], b[2];
    float d[4];
};

// The product of all lanes' operands: each element is summed from k = 0 to 15 in float32.
UNSEEN static void multiply(Warp& warp, unsigned meeting) {
    typedef float Columns __attribute__((vector_size(32)));
    float a[16][16];
    Columns b[16], d[16];
    auto low = [](unsigned pair) UNSEEN { return __uint_as_float(pair << 16); };
    auto high = [](unsigned pair) UNSEEN { return __uint_as_float(pair & 0xFFFF0000u); };
    for (unsigned lane = 0; lane < WARP; lane++) {
        Operands own;
        __builtin_memcpy(&own, warp.slots[meeting][lane], sizeof(own));
        unsigned g = lane / 4, t = lane % 4;
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = g + i % 2 * 8, k = 2 * t + i / 2 * 8;
            a[row][k] = low(own.a[i]), a[row][k + 1] = high(own.a[i]);
            d[g + i / 2 * 8][2 * t + i % 2] = own.d[i];
        }
        for (unsigned i = 0; i < 2; i++) {
            unsigned k = 2 * t + 8 * i;
            b[k][g] = low(own.b[i]), b[k + 1][g] = high(own.b[i]);
        }
    }
    for (unsigned row = 0; row < 16; row++) {
        Columns sum = d[row];
        for (unsigned k = 0; k < 16; k++) sum += a[row][k] * b[k];
        d[row] = sum;
    }
    for (unsigned lane = 0; lane < WARP; lane++) {
        for (unsigned i = 0; i < 4; i++)
            warp.results[meeting][lane][i] = __float_as_uint(d[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2]);
    }
}

// Each lane's pairs of four matrices, whose rows lie where the lanes say.
template <bool TRANSPOSED> UNSEEN static void load_rows(Warp& warp, unsigned meeting) {
    unsigned short rows[WARP][8];
    const char* places[WARP];
    for (unsigned lane = 0; lane < WARP; lane++) {
        __builtin_memcpy(&places[lane], warp.slots[meeting][lane], sizeof(places[lane]));
        __builtin_memcpy(rows[lane], places[lane], 16);
    }
    // The rows of a matrix come together where all lie in other banks: 16 bytes are four of 32.
    for (unsigned first = 0; first < WARP; first += 8) {
        unsigned most = 1;
        for (unsigned i = first; i < first + 8; i++) {
            unsigned same = 1;
            for (unsigned j = first; j < i; j++) same += places[i] != places[j] && (places[i] - places[j]) % 128 == 0;
            most = same > most ? same : most;
        }
        matrices++;
        conflicts += most - 1;
    }
    for (unsigned lane = 0; lane < WARP; lane++) {
        for (unsigned i = 0; i < 4; i++) {
            unsigned first = 2 * (lane % 4), other = lane / 4;
            unsigned short* low = TRANSPOSED ? &rows[8 * i + first][other] : &rows[8 * i + other][first];
            unsigned short* high = TRANSPOSED ? &rows[8 * i + first + 1][other] : &rows[8 * i + other][first + 1];
            warp.results[meeting][lane][i] = *low | static_cast<unsigned>(*high) << 16;
        }
    }
}

}  // namespace emulator

UNSEEN static void mma_16x8x16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    emulator::Operands own = {{a[0], a[1], a[2], a[3]}, {b0, b1}, {d[0], d[1], d[2], d[3]}};
    auto& warp = emulator::exchange("mma_16x8x16", own, emulator::multiply);
    __builtin_memcpy(d, warp.results[emulator::current->warp_meetings % 2][emulator::lane()], 16);
}

template <typename T> CALLED static void load_matrices(unsigned (&r)[4], const T* row) {
    accessed(row, 16, false, PLACE);
    auto& warp = emulator::exchange("load_matrices", row, emulator::load_rows<false>);
    __builtin_memcpy(r, warp.results[emulator::current->warp_meetings % 2][emulator::lane()], 16);
}

template <typename T> CALLED static void load_matrices_transposed(unsigned (&r)[4], const T* row) {
    accessed(row, 16, false, PLACE);
    auto& warp = emulator::exchange("load_matrices_transposed", row, emulator::load_rows<true>);
    __builtin_memcpy(r, warp.results[emulator::current->warp_meetings % 2][emulator::lane()], 16);
}

UNSEEN static int anew(int value) { return value; }

// A copy is done when it is waited for, from what lies there then; until then its target is poison. Copies that nobody waits
// for are never done.
CALLED static void copy_async(void* to, const void* from, bool wanted) {
    emulator::Fibre& fibre = *emulator::current;
    if (fibre.pending == fibre.room) {
        fibre.room = fibre.room ? 2 * fibre.room : 64;
        fibre.copies = static_cast<emulator::Copy*>(realloc(fibre.copies, fibre.room * sizeof(emulator::Copy)));
    }
    fibre.copies[fibre.pending++] = {to, from, wanted, fibre.groups, PLACE};
    accessed(to, 16, true, PLACE);
    if (wanted) accessed(from, 16, false, PLACE);
    __builtin_memset(to, emulator::POISON, 16);
}

UNSEEN static void loads_begun() { emulator::current->groups++; }

template <int ALLOWED> UNSEEN static void loads_done() {
    emulator::Fibre& fibre = *emulator::current;
    unsigned left = 0;
    for (unsigned i = 0; i < fibre.pending; i++) {
        emulator::Copy copy = fibre.copies[i];
        if (copy.group + ALLOWED >= fibre.groups) {
            fibre.copies[left++] = copy;
            continue;
        }
        accessed(copy.to, 16, true, copy.place);
        if (copy.wanted) {
            accessed(copy.from, 16, false, copy.place);
            __builtin_memcpy(copy.to, copy.from, 16);
        } else {
            __builtin_memset(copy.to, 0, 16);
        }
    }
    fibre.pending = left;
}
