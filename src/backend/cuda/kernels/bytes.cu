// Operations on the bytes of an image, as `src/data/transforms/bytes` computes them and Pillow defines them. A block has an
// image: its values become bytes, which each operation of its row changes in turn, and bytes become values again.
// Definitions: TO the type of the result; CHANNELS; WORDS of an image's row; AT: where its operations begin; COUNT: how
// many; STRIDE: 1 where both copies of the bytes fit shared memory; 4 where they lie in the memory of the values, byte 0 of
// each and byte 1; OP_..: the places of the operations in the table of `src/data/transforms/bytes`.
#include "common.cuh"

constexpr int THREADS = 256, ARGUMENTS = 7;

__shared__ u32 counts[CHANNELS][256];
__shared__ u8 look_up[CHANNELS][256];
__shared__ u32 sum;
// Of the data, by channel.
__shared__ u8 mean[CHANNELS];

struct Image {
    // As it is, and room for what an operation writes that reads more than it writes.
    u8* now;
    u8* next;
    int height, width;

    __device__ __forceinline__ int bytes() const { return height * width * CHANNELS; }
    __device__ __forceinline__ u8& at(int i) const { return now[i * STRIDE]; }
    __device__ __forceinline__ int pixel(int y, int x, int c) const { return now[((y * width + x) * CHANNELS + c) * STRIDE]; }
    __device__ __forceinline__ void put(int i, int byte) const { next[i * STRIDE] = (u8)byte; }

    // What has been written is the image from here on.
    __device__ __forceinline__ void turn() {
        __syncthreads();
        u8* held = now;
        now = next;
        next = held;
    }
};

// As `convert("L")` of the pixel whose first byte is number i.
__device__ __forceinline__ int luma(const Image& image, int i) {
    if (CHANNELS != 3) return image.at(i);
    return (image.at(i) * 19595 + image.at(i + 1) * 38470 + image.at(i + 2) * 7471 + 0x8000) >> 16;
}

__device__ __forceinline__ int blend(int plain, int byte, float factor) {
    float level = __fadd_rn((float)plain, __fmul_rn(factor, (float)(byte - plain)));
    return level <= 0.0f ? 0 : level >= 255.0f ? 255 : (int)level;
}

// Changes each byte by itself.
template <typename Of> __device__ __forceinline__ void each(const Image& image, const Of& of) {
    for (int i = threadIdx.x; i < image.bytes(); i += THREADS) image.at(i) = (u8)of((int)image.at(i));
    __syncthreads();
}

__device__ __forceinline__ void color(const Image& image, float factor) {
    for (int i = threadIdx.x * CHANNELS; i < image.bytes(); i += THREADS * CHANNELS) {
        int grey = luma(image, i);
        for (int c = 0; c < CHANNELS; c++) image.at(i + c) = (u8)blend(grey, image.at(i + c), factor);
    }
    __syncthreads();
}

__device__ __forceinline__ void contrast(const Image& image, float factor) {
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    u32 own = 0;
    for (int i = threadIdx.x * CHANNELS; i < image.bytes(); i += THREADS * CHANNELS) own += luma(image, i);
    atomicAdd(&sum, own);
    __syncthreads();
    u64 pixels = image.height * image.width;
    int mean = (int)((2 * (u64)sum + pixels) / (2 * pixels));
    each(image, [&](int byte) { return blend(mean, byte, factor); });
}

__device__ __forceinline__ void sharpness(Image& image, float factor) {
    for (int i = threadIdx.x; i < image.bytes(); i += THREADS) {
        int c = i % CHANNELS, x = i / CHANNELS % image.width, y = i / CHANNELS / image.width, byte = image.at(i);
        bool inside = 0 < x && x < image.width - 1 && 0 < y && y < image.height - 1;
        if (inside) {
            int near = 4 * byte;
#pragma unroll
            for (int j = 0; j < 9; j++) near += image.pixel(y + j / 3 - 1, x + j % 3 - 1, c);
            byte = blend((2 * near + 13) / 26, byte, factor);
        }
        image.put(i, byte);
    }
    image.turn();
}

// How often each channel has each byte.
__device__ __forceinline__ void count(const Image& image) {
    for (int i = threadIdx.x; i < CHANNELS * 256; i += THREADS) counts[i / 256][i % 256] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < image.bytes(); i += THREADS) atomicAdd(&counts[i % CHANNELS][image.at(i)], 1u);
    __syncthreads();
}

// Puts each byte through the table of its channel.
__device__ __forceinline__ void by_tables(const Image& image) {
    __syncthreads();
    for (int i = threadIdx.x; i < image.bytes(); i += THREADS) image.at(i) = look_up[i % CHANNELS][image.at(i)];
    __syncthreads();
}

__device__ __forceinline__ void auto_contrast(const Image& image) {
    count(image);
    for (int c = threadIdx.x; c < CHANNELS; c += THREADS) {
        int low = 0, high = 255;
        while (low < 255 && counts[c][low] == 0) low++;
        while (high > 0 && counts[c][high] == 0) high--;
        double scale = 1.0, offset = 0.0;
        if (low < high) {
            scale = 255.0 / (double)(high - low);
            offset = -(double)low * scale;
        }
        for (int byte = 0; byte < 256; byte++) {
            double level = __dadd_rn(__dmul_rn((double)byte, scale), offset);
            look_up[c][byte] = (u8)(level <= 0.0 ? 0 : level >= 255.0 ? 255 : (int)level);
        }
    }
    by_tables(image);
}

__device__ __forceinline__ void equalize(const Image& image) {
    count(image);
    for (int c = threadIdx.x; c < CHANNELS; c += THREADS) {
        int last = 255;
        while (last > 0 && counts[c][last] == 0) last--;
        u32 step = (image.height * image.width - counts[c][last]) / 255, passed = step / 2;
        for (int byte = 0; byte < 256; byte++) {
            look_up[c][byte] = (u8)(step == 0 ? (u32)byte : min(passed / step, 255u));
            passed += counts[c][byte];
        }
    }
    by_tables(image);
}

// The byte that stands outside: 256 stands for the mean of the data.
__device__ __forceinline__ int outside(u32 fill, int c) { return fill == 256 ? mean[c] : (int)fill; }

__device__ __forceinline__ void move_nearest(Image& image, const u32* words) {
    for (int i = threadIdx.x; i < image.height * image.width; i += THREADS) {
        int x = i % image.width, y = i / image.width;
        long long from[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const u32* row = words + 3 * j;
            from[j] = ((int)row[2] + (long long)(int)row[0] * x + (long long)(int)row[1] * y) >> 16;
        }
        bool inside = 0 <= from[0] && from[0] < image.width && 0 <= from[1] && from[1] < image.height;
        for (int c = 0; c < CHANNELS; c++) {
            image.put(i * CHANNELS + c, inside ? image.pixel((int)from[1], (int)from[0], c) : outside(words[6], c));
        }
    }
    image.turn();
}

__device__ __forceinline__ double blend(double low, double high, double by) {
    return __dadd_rn(low, __dmul_rn(high - low, by));
}

// The position along one axis: the pixels on both sides, and the share of the second.
struct Place {
    int low, high;
    double share;

    __device__ __forceinline__ Place(double from, int size) {
        double first = floor(from - 0.5);
        share = from - 0.5 - first;
        low = (int)first < 0 ? 0 : (int)first;
        high = (int)first + 1 < size ? (int)first + 1 : size - 1;
    }
};

__device__ __forceinline__ void move_bilinear(Image& image, const u32* words) {
    for (int i = threadIdx.x; i < image.height * image.width; i += THREADS) {
        int x = i % image.width, y = i / image.width;
        double from[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {
            double row[3];
            for (int k = 0; k < 3; k++) row[k] = (double)__uint_as_float(words[3 * j + k]);
            from[j] = __dadd_rn(__dadd_rn(__dmul_rn(row[0], x + 0.5), __dmul_rn(row[1], y + 0.5)), row[2]);
        }
        bool inside = 0.0 <= from[0] && from[0] < image.width && 0.0 <= from[1] && from[1] < image.height;
        if (!inside) {
            for (int c = 0; c < CHANNELS; c++) image.put(i * CHANNELS + c, outside(words[6], c));
            continue;
        }
        Place across(from[0], image.width), down(from[1], image.height);
        for (int c = 0; c < CHANNELS; c++) {
            double upper = blend((double)image.pixel(down.low, across.low, c), (double)image.pixel(down.low, across.high, c),
                                 across.share);
            double lower = blend((double)image.pixel(down.high, across.low, c),
                                 (double)image.pixel(down.high, across.high, c), across.share);
            image.put(i * CHANNELS + c, (int)blend(upper, lower, down.share));
        }
    }
    image.turn();
}

// Three times along the rows, then three times along the columns: `reach` pixels on each side count `inner`, the two beyond
// them `outer`, in 2^24ths; the edges go on.
__device__ __forceinline__ void blur(Image& image, int reach, u32 inner, u32 outer) {
    for (int time = 0; time < 6; time++) {
        bool along_rows = time < 3;
        int length = along_rows ? image.width : image.height, step = along_rows ? CHANNELS : image.width * CHANNELS;
        for (int i = threadIdx.x; i < image.bytes(); i += THREADS) {
            int place = along_rows ? i / CHANNELS % image.width : i / CHANNELS / image.width, first = i - place * step;
            auto at = [&](int place) { return (u32)image.at(first + (place < 0 ? 0 : place < length ? place : length - 1) * step); };
            u32 all = 0;
            for (int j = place - reach; j <= place + reach; j++) all += at(j);
            u32 ends = at(place - reach - 1) + at(place + reach + 1);
            image.put(i, (int)((all * inner + ends * outer + (1u << 23)) >> 24));
        }
        image.turn();
    }
}

// `mean_bytes` are the means of the data as bytes, `levels` the values of bytes [CHANNELS, 256], `scales` mean and
// deviation of each channel.
KERNEL __launch_bounds__(256)
    operate(float* __restrict__ from, const u32* __restrict__ order, const u32* __restrict__ tables, int scales, int height,
            int width, const StepState* state, const u32* __restrict__ drawn, TO* __restrict__ to) {
    const u32* row = drawn + (u64)row_of(order, state->position + blockIdx.x) * WORDS + AT;
    const float* levels = reinterpret_cast<const float*>(tables);
    const float *means = levels + scales, *deviations = means + CHANNELS;
    auto byte_of = [&](int c, float value) {
        float level = __fadd_rn(__fadd_rn(__fmul_rn(value, deviations[c]), means[c]), 0.5f);
        return (u8)(level <= 0.0f ? 0 : level >= 255.0f ? 255 : (int)level);
    };
    int bytes = height * width * CHANNELS;
    float* values = from + (u64)blockIdx.x * bytes;
    TO* target = to + (u64)blockIdx.x * bytes;
    bool any = false;
    for (int i = 0; i < COUNT; i++) any = any || row[i * (1 + ARGUMENTS)] != OP_IDENTITY;
    if (!any) {
        for (int i = threadIdx.x; i < bytes; i += THREADS) store(target[i], values[i]);
        return;
    }
    Image image;
    image.height = height;
    image.width = width;
#if STRIDE == 1
    DYNAMIC_SHARED(memory);
    image.now = memory;
    image.next = memory + bytes;
#else
    image.now = reinterpret_cast<u8*>(values);
    image.next = image.now + 1;
#endif
    for (int i = threadIdx.x; i < bytes; i += THREADS) image.at(i) = byte_of(i % CHANNELS, values[i]);
    for (int c = threadIdx.x; c < CHANNELS; c += THREADS) mean[c] = byte_of(c, 0.0f);
    __syncthreads();
    for (int i = 0; i < COUNT; i++) {
        u32 operation = row[i * (1 + ARGUMENTS)];
        const u32* words = row + i * (1 + ARGUMENTS) + 1;
        int whole = (int)words[0];
        float factor = __uint_as_float(words[0]);
        // All threads of a block have the same case.
        switch (operation) {
        case OP_BRIGHTNESS: each(image, [&](int byte) { return blend(0, byte, factor); }); break;
        case OP_COLOR: color(image, factor); break;
        case OP_CONTRAST: contrast(image, factor); break;
        case OP_SHARPNESS: sharpness(image, factor); break;
        case OP_BLUR: blur(image, whole, words[1], words[2]); break;
        case OP_AUTO_CONTRAST: auto_contrast(image); break;
        case OP_EQUALIZE: equalize(image); break;
        case OP_MOVE_BILINEAR: move_bilinear(image, words); break;
        case OP_MOVE_NEAREST: move_nearest(image, words); break;
        case OP_INVERT: each(image, [&](int byte) { return 255 - byte; }); break;
        case OP_POSTERIZE: each(image, [&](int byte) { return byte & ~((1 << (8 - whole)) - 1); }); break;
        case OP_SOLARIZE: each(image, [&](int byte) { return byte < whole ? byte : 255 - byte; }); break;
        case OP_SOLARIZE_ADD: each(image, [&](int byte) { return byte < 128 ? min(byte + whole, 255) : byte; }); break;
        }
    }
    for (int i = threadIdx.x; i < bytes; i += THREADS) store(target[i], levels[i % CHANNELS * 256 + image.at(i)]);
}
