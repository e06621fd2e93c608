// The masks of dropout, drawn where the device has time for it: a step begins with those of all attentions.
#include "common.cuh"

// Which weights [heads, tokens, sources] of an attention dropout keeps, as its kernels read them: `kept` [heads, S / 16, T],
// where T and S are tokens and sources up to a multiple of 16, has the bits of 16 sources for each token. `heads` are
// those of all images. Bits beyond the last source are of no weight.
KERNEL __launch_bounds__(256)
    of_attention(u32 words, int tokens, int sources, DROPOUT_PARAMETERS, u16* __restrict__ kept) {
    Mask mask = DROPOUT_MASK;
    u32 all_tokens = (tokens + 15) / 16 * 16, groups = (sources + 15) / 16;
    for (u32 i = blockIdx.x * 256 + threadIdx.x; i < words; i += gridDim.x * 256) {
        u32 token = i % all_tokens, group = i / all_tokens % groups, head = i / all_tokens / groups, bits = 0;
        if (token < (u32)tokens) {
            u64 first = ((u64)head * tokens + token) * sources + 16 * group;
            // A block of the generator has eight elements.
            u32 shift = (u32)first % 8;
            bits = mask.kept(first / 8) | mask.kept(first / 8 + 1) << 8;
            if (shift > 0) bits |= mask.kept(first / 8 + 2) << 16;
            bits >>= shift;
        }
        kept[i] = (u16)bits;
    }
}
