// Windows that move over images, [batch, height, width, channels].
#pragma once

constexpr int THREADS = 256;

// Along one axis: windows of `pool` places `dilation` apart, `stride` from one to the next, of which the first begins
// `before` places beside the input.
struct Windows {
    int length, pool, dilation, stride, count, before;

    // Of windows without gaps, the places within the input.
    __device__ __forceinline__ int first(int window) const { return max(window * stride - before, 0); }
    __device__ __forceinline__ int end(int window) const { return min(window * stride - before + pool, length); }
    // The windows without gaps that a place is in.
    __device__ __forceinline__ int first_of(int place) const {
        int beyond = place + before - pool;
        return beyond < 0 ? 0 : beyond / stride + 1;
    }
    __device__ __forceinline__ int end_of(int place) const { return min((place + before) / stride + 1, count); }

    // Where a tap of a window lies; not in the input if that is below 0 or at least `length`.
    __device__ __forceinline__ int place(int window, int tap) const { return window * stride + tap * dilation - before; }
    // The window of which this place is that tap, or -1.
    __device__ __forceinline__ int window_of(int place, int tap) const {
        int from = place + before - tap * dilation;
        return from >= 0 && from % stride == 0 && from / stride < count ? from / stride : -1;
    }
};

#define ROWS Windows{height, pool_rows, dilation_rows, stride_rows, rows, before_rows}
#define COLUMNS Windows{width, pool_columns, dilation_columns, stride_columns, columns, before_columns}
#define WINDOWS                                                                                               \
    int channels, int height, int pool_rows, int dilation_rows, int stride_rows, int rows, int before_rows,   \
        int width, int pool_columns, int dilation_columns, int stride_columns, int columns, int before_columns
