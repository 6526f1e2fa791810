// Convolution as a matrix product, channels last: patches out of images, and back.

// Patches [pixels, KH, KW, C] of output pixels, `count` values, of images [N, H, W, C]; zeros outside.
KERNEL(gather_patches, const T *x, T *patches, int height, int width, int channels, int kernel_height,
       int kernel_width, int out_height, int out_width, int stride, int padding, int count) {
    FOR_EACH(i, count) {
        unsigned channel = i % (unsigned)channels, rest = i / (unsigned)channels;
        int kx = rest % (unsigned)kernel_width, ky = rest / (unsigned)kernel_width % (unsigned)kernel_height;
        unsigned pixel = rest / (unsigned)kernel_width / (unsigned)kernel_height;
        int out_x = pixel % (unsigned)out_width, out_y = pixel / (unsigned)out_width % (unsigned)out_height;
        size_t image = pixel / (unsigned)out_width / (unsigned)out_height;
        int row = out_y * stride + ky - padding, column = out_x * stride + kx - padding;
        bool inside = row >= 0 && row < height && column >= 0 && column < width;
        size_t from = (image * height + row) * width + column;
        patches[i] = inside ? (float)x[from * channels + channel] : 0.0f;
    }
}

// Each value of images [N, H, W, C] as the sum of the patches' values that came from it, in the order of the kernel.
KERNEL(scatter_patches, const T *patches, T *dx, int height, int width, int channels, int kernel_height,
       int kernel_width, int out_height, int out_width, int stride, int padding, int count) {
    FOR_EACH(i, count) {
        unsigned channel = i % (unsigned)channels, pixel = i / (unsigned)channels;
        int column = pixel % (unsigned)width, row = pixel / (unsigned)width % (unsigned)height;
        size_t image = pixel / (unsigned)width / (unsigned)height;
        float sum = 0.0f;
        for (int ky = 0; ky < kernel_height; ky++) {
            int y = row + padding - ky;
            if (y < 0 || y % stride != 0 || y / stride >= out_height) {
                continue;
            }
            for (int kx = 0; kx < kernel_width; kx++) {
                int x = column + padding - kx;
                if (x < 0 || x % stride != 0 || x / stride >= out_width) {
                    continue;
                }
                size_t patch = (image * out_height + y / stride) * out_width + x / stride;
                sum += (float)patches[((patch * kernel_height + ky) * kernel_width + kx) * channels + channel];
            }
        }
        dx[i] = sum;
    }
}
