// CUDA C++ on the host, for tests: one fibre per thread of a block, blocks one after the other. A
// fibre runs until it meets a barrier or a warp-wide instruction, and goes on when all that take
// part have come. Registers of other lanes are read from slots; two sets of slots alternate, so one
// meeting per instruction is enough. What a warp does as one, its last lane to arrive does for all.
#pragma once
#define VITX_EMULATOR

// No more headers than these, and none of C++: they would take longer to compile than the kernels.
#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>

extern "C" {
int snprintf(char*, size_t, const char*, ...);
float sqrtf(float), expf(float), exp2f(float), logf(float), log1pf(float), log2f(float), erff(float), tanhf(float), floorf(float);
double exp(double), sin(double), cos(double);
float fmaxf(float, float), fabsf(float);
double sqrt(double), pow(double, double), floor(double);
void sincosf(float, float*, float*);
}

// Functions of the emulator itself: their memory accesses are no kernel's.
#define UNSEEN __attribute__((no_sanitize("thread")))

// Not by its own name, which may be one of the C library's.
#define KERNEL static void
#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
// Blocks run one at a time, so what a block shares is static. The library's zeros hold nothing else: the emulator's own
// variables lie in a section of theirs, or are allocated.
#define __shared__ static
#define OWN static __attribute__((section("vitx_emulator")))
#define __constant__ static const

extern "C" {
// Of the linker: where the library begins, its zeros, and its end.
extern unsigned char __ehdr_start[] __attribute__((visibility("hidden")));
extern unsigned char __bss_start[] __attribute__((visibility("hidden")));
extern unsigned char _end[] __attribute__((visibility("hidden")));
}

struct Dim3 {
    unsigned x, y, z;
};

OWN Dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace emulator {

constexpr unsigned WARP = 32, MOST_THREADS = 1024, MOST_SHARED = 256 << 10, SLOT = 64;
// Of a fibre: kernels keep at most a few kilobytes on their stack.
constexpr unsigned STACK = 128 << 10;
// What memory holds that nobody has written yet: NaN as floats, large numbers otherwise.
constexpr unsigned char POISON = 0xFF;

// Sixteen bytes on their way to shared memory.
struct Copy {
    void* to;
    const void* from;
    bool wanted;
    unsigned group;
    // Where the kernel asked for it.
    const void* place;
};

struct Fibre {
    ucontext_t context;
    jmp_buf jump;
    char* stack;
    Dim3 index;
    unsigned id;
    bool started, finished;
    // Meetings that this fibre has come to, of its block and of its warp; those of the warp that order its memory.
    unsigned long block_meetings, warp_meetings;
    unsigned warp_barriers;
    // Goes on when `awaited` has come so far.
    const unsigned long* awaited;
    unsigned long until;
    // Copies that nobody has waited for yet, in the order of their beginning, and the groups that were closed.
    Copy* copies;
    unsigned pending, room, groups;
};

struct Warp {
    unsigned lanes;
    unsigned long arrived;
    // What the lanes meet at.
    const char* instruction;
    // Of a lane, for the even and the odd meetings: what it brings, and what it is given.
    alignas(SLOT) unsigned char slots[2][WARP][SLOT];
    alignas(16) unsigned results[2][WARP][4];
};

OWN Fibre* fibres;
OWN Warp* warps;
OWN unsigned char* shared;
OWN unsigned long block_arrived;
OWN unsigned alive, unfinished;
OWN Fibre* current;
OWN jmp_buf scheduler;
OWN void (*body)(void**);
OWN void** arguments;
// What is wrong with the launch, if anything: it ends there.
OWN char failure[256];
// Reads of eight rows of matrices by a warp, and how many times more than once each it went to a bank of shared memory.
OWN unsigned long long matrices, conflicts;
// Every other block runs its threads in the opposite order: whoever lacks a barrier is found out.
OWN bool backwards;

// Ends the launch. Its threads are left where they are, so all begin anew with the next one.
template <typename... T> [[noreturn]] UNSEEN static void fail(const char* format, T... values) {
    snprintf(failure, sizeof(failure), format, values...);
    _longjmp(scheduler, 1);
}

UNSEEN static void resume(Fibre& fibre) {
    current = &fibre;
    threadIdx = fibre.index;
    if (fibre.started) _longjmp(fibre.jump, 1);
    fibre.started = true;
    setcontext(&fibre.context);
}

// On to the next fibre that can go on, which may be this one.
UNSEEN static void yield() {
    if (unfinished > 0) {
        unsigned at = current->id;
        for (unsigned tried = 0; tried < alive; tried++) {
            if (backwards) at = at == 0 ? alive - 1 : at - 1;
            else at = at + 1 == alive ? 0 : at + 1;
            Fibre& next = fibres[at];
            if (next.finished || *next.awaited < next.until) continue;
            if (&next == current) return;
            if (!_setjmp(current->jump)) resume(next);
            return;
        }
        fail("threads of block (%u, %u, %u) wait for one another for ever", blockIdx.x, blockIdx.y, blockIdx.z);
    }
    if (!_setjmp(current->jump)) _longjmp(scheduler, 1);
}

UNSEEN static void wait(const unsigned long& awaited, unsigned long until) {
    current->awaited = &awaited;
    current->until = until;
    if (awaited < until) yield();
}

UNSEEN static void meet_block() {
    block_arrived++;
    wait(block_arrived, ++current->block_meetings * alive);
}

UNSEEN static unsigned lane() { return current->id % WARP; }

// All lanes of a warp meet at an instruction; those that exist take part, whatever the mask says. The last to come does for
// all of them what `together` says.
UNSEEN static Warp& meet_warp(const char* instruction, void (*together)(Warp&, unsigned) = nullptr) {
    Warp& warp = warps[current->id / WARP];
    unsigned long before = current->warp_meetings++ * warp.lanes;
    if (warp.arrived == before) {
        warp.instruction = instruction;
    } else if (warp.instruction != instruction) {
        fail("lanes of a warp are at %s and at %s, and wait for one another", warp.instruction, instruction);
    }
    warp.arrived++;
    if (together && warp.arrived == before + warp.lanes) together(warp, current->warp_meetings % 2);
    wait(warp.arrived, before + warp.lanes);
    return warp;
}

// Puts a value where the other lanes see it, and gives the warp with the slots and results of this meeting.
template <typename T>
UNSEEN static Warp& exchange(const char* instruction, const T& value, void (*together)(Warp&, unsigned) = nullptr) {
    static_assert(sizeof(T) <= SLOT, "a slot is as large");
    unsigned meeting = (current->warp_meetings + 1) % 2;
    __builtin_memcpy(warps[current->id / WARP].slots[meeting][lane()], &value, sizeof(T));
    return meet_warp(instruction, together);
}

// What a lane has brought to the meeting that this fibre comes from.
template <typename T> UNSEEN static T from_lane(const Warp& warp, unsigned lane) {
    T value;
    __builtin_memcpy(&value, warp.slots[current->warp_meetings % 2][lane], sizeof(T));
    return value;
}

UNSEEN static void run_fibre() {
    for (;;) {
        body(arguments);
        current->finished = true;
        unfinished--;
        yield();
    }
}

UNSEEN static void run_block(unsigned threads, unsigned bytes) {
    backwards = !backwards;
    alive = unfinished = threads;
    block_arrived = 0;
    // Not what the last block left: a kernel that reads what it did not write is found out.
    __builtin_memset(shared, POISON, bytes);
    __builtin_memset(__bss_start, POISON, _end - __bss_start);
    for (unsigned i = 0; i * WARP < threads; i++) {
        warps[i].arrived = 0;
        warps[i].lanes = threads - i * WARP < WARP ? threads - i * WARP : WARP;
    }
    for (unsigned i = 0; i < threads; i++) {
        Fibre& fibre = fibres[i];
        fibre.finished = false;
        fibre.block_meetings = fibre.warp_meetings = 0;
        fibre.awaited = &block_arrived;
        fibre.until = 0;
        // Copies that the last block's thread never waited for never arrive.
        fibre.warp_barriers = fibre.pending = fibre.groups = 0;
    }
    if (!_setjmp(scheduler)) resume(fibres[backwards ? threads - 1 : 0]);
}

#ifndef VITX_RACES
static void begin_races() {}
static void begin_block() {}
static void end_races() {}
#else
static void begin_races();
static void begin_block();
static void end_races();
#endif

// Gives what is wrong with it, or null.
UNSEEN static const char* launch(void (*kernel)(void**), void** args, const unsigned* grid, const unsigned* block, unsigned bytes) {
    unsigned threads = block[0] * block[1] * block[2];
    if (threads > MOST_THREADS || bytes > MOST_SHARED) {
        snprintf(failure, sizeof(failure), "%u threads of a block, %u bytes of shared memory", threads, bytes);
        return failure;
    }
    failure[0] = 0;
    matrices = conflicts = 0;
    if (!fibres) {
        fibres = static_cast<Fibre*>(calloc(MOST_THREADS, sizeof(Fibre)));
        warps = static_cast<Warp*>(aligned_alloc(alignof(Warp), MOST_THREADS / WARP * sizeof(Warp)));
        shared = static_cast<unsigned char*>(aligned_alloc(128, MOST_SHARED));
    }
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    body = kernel;
    arguments = args;
    for (unsigned i = 0; i < threads; i++) {
        Fibre& fibre = fibres[i];
        fibre.id = i;
        fibre.index = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
        if (!fibre.stack) fibre.stack = static_cast<char*>(malloc(STACK));
        if (!fibre.started) {
            getcontext(&fibre.context);
            fibre.context.uc_stack.ss_sp = fibre.stack;
            fibre.context.uc_stack.ss_size = STACK;
            fibre.context.uc_link = nullptr;
            makecontext(&fibre.context, run_fibre, 0);
        }
    }
    begin_races();
    for (unsigned z = 0; z < grid[2] && !failure[0]; z++)
        for (unsigned y = 0; y < grid[1] && !failure[0]; y++)
            for (unsigned x = 0; x < grid[0] && !failure[0]; x++) {
                blockIdx = {x, y, z};
                begin_block();
                run_block(threads, bytes);
            }
    end_races();
    if (!failure[0]) return nullptr;
    for (unsigned i = 0; i < threads; i++) fibres[i].started = false;
    return failure;
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
template <typename... T, unsigned... I> UNSEEN static void call(void (*kernel)(T...), void** args, Numbers<I...>) {
    kernel(*static_cast<typename Plain<T>::type*>(args[I])...);
}

template <typename... T> UNSEEN static void call(void (*kernel)(T...), void** args) {
    call(kernel, args, typename Count<sizeof...(T)>::type());
}

// The types of a kernel's parameters, a letter each.
template <typename... T> static const char* letters(void (*)(T...)) {
    static const char text[] = {Plain<T>::letter..., 0};
    return text;
}

// Their bytes.
template <typename... T> static const unsigned* sizes(void (*)(T...)) {
    static const unsigned all[] = {sizeof(typename Plain<T>::type)..., 0};
    return all;
}

}  // namespace emulator

// `vitx_parameters_KERNEL` tells the types of the parameters, `vitx_sizes_KERNEL` their bytes, `vitx_launch_KERNEL` runs a grid and tells what is wrong with it.
#define EMULATED_ENTRY(kernel)                                                                                       \
    extern "C" const char* vitx_parameters_##kernel() { return emulator::letters(kernel); }                          \
    extern "C" const unsigned* vitx_sizes_##kernel() { return emulator::sizes(kernel); }                                 \
    UNSEEN static void vitx_call_##kernel(void** args) { emulator::call(kernel, args); }                              \
    extern "C" const char* vitx_launch_##kernel(void** args, const unsigned* grid, const unsigned* block, unsigned bytes) { \
        return emulator::launch(vitx_call_##kernel, args, grid, block, bytes);                                              \
    }

// Bytes that the kernels of this library declare as shared, together.
extern "C" UNSEEN unsigned vitx_shared() { return _end - __bss_start; }

// Of the last launch.
extern "C" UNSEEN void vitx_matrices(unsigned long long* counts) {
    counts[0] = emulator::matrices;
    counts[1] = emulator::conflicts;
}
