// The packed form of a kernel: blocks of several variants of a program in one launch, whose grid has the depth of one of
// them times their number. The source stands in a namespace, its kernels as functions; an entry beside each reads the
// arguments of its block's variant from a table, and calls it. A block has the coordinates that it has in a launch of its
// own, so it computes the same bits.
// Definitions: PACKED_DEPTH the depth of one variant's grid; PACKED_MOST the most variants of a table.
#ifdef VITX_EMULATOR
#define __grid_constant__
#endif

struct PackedPlace {
    unsigned x, y, z;
};

__device__ __forceinline__ PackedPlace packed_block() { return {blockIdx.x, blockIdx.y, blockIdx.z % PACKED_DEPTH}; }
__device__ __forceinline__ PackedPlace packed_grid() { return {gridDim.x, gridDim.y, PACKED_DEPTH}; }
__device__ __forceinline__ unsigned packed_variant() { return blockIdx.z / PACKED_DEPTH; }

#define blockIdx packed_block()
#define gridDim packed_grid()

// An argument from its word.
template <typename T> struct PackedArgument {
    static __device__ __forceinline__ T of(unsigned long long word) { return (T)word; }
};
template <> struct PackedArgument<float> {
    static __device__ __forceinline__ float of(unsigned long long word) { return __uint_as_float((unsigned)word); }
};

template <unsigned... I> struct PackedNumbers {};
template <unsigned N, unsigned... I> struct PackedCount : PackedCount<N - 1, N - 1, I...> {};
template <unsigned... I> struct PackedCount<0, I...> {
    typedef PackedNumbers<I...> numbers;
};

// A kernel's arguments of all variants, a word each, by variant.
template <auto kernel> struct Packed;
template <typename... T, void (*kernel)(T...)> struct Packed<kernel> {
    struct Table {
        unsigned long long words[PACKED_MOST][sizeof...(T)];
    };

    template <unsigned... I>
    static __device__ __forceinline__ void call(const unsigned long long (&words)[sizeof...(T)], PackedNumbers<I...>) {
        kernel(PackedArgument<T>::of(words[I])...);
    }

    static __device__ __forceinline__ void call(const Table& table) {
        call(table.words[packed_variant()], typename PackedCount<sizeof...(T)>::numbers());
    }
};
