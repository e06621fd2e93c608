// The mean over windows of an image, [batch, height, width, channels], and its gradient. What lies beside the image is in
// no mean. Definitions: FROM, TO types of the input and of the result. One thread an element.
#include "common.cuh"
#include "windows.cuh"

KERNEL __launch_bounds__(256) forward(u32 count, WINDOWS, const FROM* x, TO* y) {
    Windows down = ROWS, across = COLUMNS;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 window = i / channels;
        int column = window % columns, row = window / columns % rows;
        const FROM* from = x + window / columns / rows * height * width * channels + i % channels;
        float sum = 0.0f;
        for (int r = down.first(row); r < down.end(row); r++) {
            for (int c = across.first(column); c < across.end(column); c++) sum += load(from[(r * width + c) * channels]);
        }
        int pixels = (down.end(row) - down.first(row)) * (across.end(column) - across.first(column));
        store(y[i], sum / pixels);
    }
}

KERNEL __launch_bounds__(256) backward(u32 count, WINDOWS, const FROM* dy, TO* dx) {
    Windows down = ROWS, across = COLUMNS;
    for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < count; i += gridDim.x * THREADS) {
        u32 pixel = i / channels, image = pixel / width / height;
        int column = pixel % width, row = pixel / width % height;
        const FROM* gradient = dy + image * rows * columns * channels + i % channels;
        float sum = 0.0f;
        for (int r = down.first_of(row); r < down.end_of(row); r++) {
            for (int c = across.first_of(column); c < across.end_of(column); c++) {
                int pixels = (down.end(r) - down.first(r)) * (across.end(c) - across.first(c));
                sum += load(gradient[(r * columns + c) * channels]) / pixels;
            }
        }
        store(dx[i], sum);
    }
}
