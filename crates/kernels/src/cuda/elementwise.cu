// Element-wise operations, sums of columns, and average pooling.

KERNEL(add, const T *a, const T *b, T *y, int count) {
    each_pair(a, b, y, count, [](float a, float b) { return a + b; });
}

// The gradient behind a ReLU: none passes where the result is not above 0.
KERNEL(mask, const T *y, const T *dy, T *dx, int count) {
    each_pair(y, dy, dx, count, [](float y, float dy) { return y <= 0.0f ? 0.0f : dy; });
}

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-1.702f * x));
}

KERNEL(quick_gelu_forward, const T *x, T *y, int count) {
    each_value(x, y, count, [](float x) { return x * sigmoid(x); });
}

KERNEL(quick_gelu_backward, const T *x, const T *dy, T *dx, int count) {
    each_pair(x, dy, dx, count, [](float x, float dy) {
        float s = sigmoid(x);
        return dy * (s + 1.702f * x * s * (1.0f - s));
    });
}

// The normal distribution's share below x.
__device__ inline float normal_share(float x) {
    return 0.5f * (1.0f + erff(x * 0.70710678f));
}

// x times the normal distribution's share below it, exact as PyTorch's default.
KERNEL(gelu_forward, const T *x, T *y, int count) {
    each_value(x, y, count, [](float x) { return x * normal_share(x); });
}

KERNEL(gelu_backward, const T *x, const T *dy, T *dx, int count) {
    each_pair(x, dy, dx, count,
              [](float x, float dy) { return dy * (normal_share(x) + x * 0.39894228f * expf(-0.5f * x * x)); });
}

KERNEL(from_float, const float *x, T *y, int count) {
    FOR_EACH_PACK(first, count) {
        int size = present(first, count);
        float values[PACK];
        load_floats(x + first, size, values);
        store_pack(y + first, size, values);
    }
}

KERNEL(to_float, const T *x, float *y, int count) {
    FOR_EACH_PACK(first, count) {
        int size = present(first, count);
        float values[PACK];
        load_pack(x + first, size, values);
        for (int k = 0; k < size; k++) {
            y[first + k] = values[k];
        }
    }
}

KERNEL(scale, const T *x, T *y, float factor, int count) {
    each_value(x, y, count, [=](float x) { return x * factor; });
}

// x plus a row repeated down.
__device__ inline void add_rows(const T *x, const float *row, T *y, int count, int columns) {
    FOR_EACH_PACK(first, count) {
        int size = present(first, count);
        unsigned column = first % (unsigned)columns;
        float values[PACK];
        load_pack(x + first, size, values);
        for (int k = 0; k < PACK; k++) {
            values[k] += row[column];
            column = column + 1 == (unsigned)columns ? 0 : column + 1;
        }
        store_pack(y + first, size, values);
    }
}

// Positions of samples.
KERNEL(add_row, const T *x, const float *row, T *y, int count, int columns) {
    add_rows(x, row, y, count, columns);
}

// The bias of a layer.
KERNEL(add_row_inplace, T *y, const float *row, int count, int columns) {
    add_rows(y, row, y, count, columns);
}

// Sums of each column over the rows of one part, [parts, columns].
KERNEL(column_sums, const T *x, float *partial, int rows, int columns, int rows_per_part) {
    unsigned column = pack_column(), first = blockIdx.y * rows_per_part;
    unsigned end = min(first + (unsigned)rows_per_part, (unsigned)rows);
    int size = column < (unsigned)columns ? present(column, columns) : 0;
    float sums[1][PACK] = {};
    for (unsigned row = first + threadIdx.y; size > 0 && row < end; row += blockDim.y) {
        float values[PACK];
        load_pack(x + (size_t)row * columns + column, size, values);
        for (int k = 0; k < PACK; k++) {
            sums[0][k] += values[k];
        }
    }
    column_totals(sums, columns, partial + (size_t)blockIdx.y * columns);
}

// The parts' sums added in a fixed order: a block has TILE_COLUMNS columns, each row of its threads every eighth part.
KERNEL(join_sums, const float *partial, float *y, int parts, int columns) {
    unsigned column = blockIdx.x * TILE_COLUMNS + threadIdx.x;
    float sum = 0.0f;
    for (unsigned part = threadIdx.y; part < (unsigned)parts && column < (unsigned)columns; part += TILE_ROWS) {
        sum += partial[(size_t)part * columns + column];
    }
    sum = tile_sum(sum);
    if (threadIdx.y == 0 && column < (unsigned)columns) {
        y[column] = sum;
    }
}

// [N, H, W, C] to [N, H/size, W/size, C].
KERNEL(average_pool_forward, const T *x, T *y, int size, int height, int width, int channels, int packs) {
    unsigned out_height = height / size, out_width = width / size, per_pixel = (channels + PACK - 1) / PACK;
    float share = 1.0f / (float)(size * size);
    FOR_EACH(i, packs) { // of channels
        unsigned channel = i % per_pixel * PACK, pixel = i / per_pixel;
        unsigned column = pixel % out_width, row = pixel / out_width % out_height;
        unsigned image = pixel / out_width / out_height;
        int held = present(channel, channels);
        float sums[PACK] = {};
        for (int dy = 0; dy < size; dy++) {
            for (int dx = 0; dx < size; dx++) {
                size_t from = ((size_t)image * height + row * size + dy) * width + column * size + dx;
                float values[PACK];
                load_pack(x + from * channels + channel, held, values);
                for (int k = 0; k < PACK; k++) {
                    sums[k] += values[k];
                }
            }
        }
        for (int k = 0; k < PACK; k++) {
            sums[k] *= share;
        }
        store_pack(y + (size_t)pixel * channels + channel, held, sums);
    }
}

KERNEL(average_pool_backward, const T *dy, T *dx, int size, int height, int width, int channels, int packs) {
    unsigned out_height = height / size, out_width = width / size, per_pixel = (channels + PACK - 1) / PACK;
    float share = 1.0f / (float)(size * size);
    FOR_EACH(i, packs) { // of channels
        unsigned channel = i % per_pixel * PACK, pixel = i / per_pixel;
        unsigned column = pixel % (unsigned)width / size, row = pixel / (unsigned)width % (unsigned)height / size;
        unsigned image = pixel / (unsigned)width / (unsigned)height;
        int held = present(channel, channels);
        float values[PACK] = {};
        if (row < out_height && column < out_width) { // sides are rounded down
            size_t from = ((size_t)image * out_height + row) * out_width + column;
            load_pack(dy + from * channels + channel, held, values);
        }
        for (int k = 0; k < PACK; k++) {
            values[k] *= share;
        }
        store_pack(dx + (size_t)pixel * channels + channel, held, values);
    }
}

// [B, T - 1, C] to [B, T, C]: the mean, then all positions, plus learned positions [T, C].
KERNEL(mean_token_forward, const T *x, const float *positions, T *y, int tokens, int channels, int count) {
    float share = 1.0f / (float)(tokens - 1);
    FOR_EACH(i, count) { // count is B * C
        unsigned channel = i % (unsigned)channels;
        size_t sample = i / (unsigned)channels;
        const T *from = x + sample * (tokens - 1) * channels + channel;
        T *to = y + sample * tokens * channels + channel;
        float sum = 0.0f;
        for (int token = 1; token < tokens; token++) {
            float value = from[(size_t)(token - 1) * channels];
            sum += value;
            to[(size_t)token * channels] = value + positions[(size_t)token * channels + channel];
        }
        to[0] = sum * share + positions[channel];
    }
}

KERNEL(mean_token_backward, const T *dy, T *dx, int tokens, int channels, int count) {
    float share = 1.0f / (float)(tokens - 1);
    FOR_EACH(i, count) { // count is that of dx
        unsigned channel = i % (unsigned)channels, row = i / (unsigned)channels;
        size_t sample = row / (unsigned)(tokens - 1), token = row % (unsigned)(tokens - 1) + 1;
        const T *from = dy + sample * tokens * channels + channel;
        dx[i] = (float)from[token * channels] + (float)from[0] * share;
    }
}

// [B, T - 1, C] to [B, T, C]: a learned token [C], then all positions, plus learned positions [T, C].
KERNEL(prepend_token_forward, const T *x, const float *token, const float *positions, T *y, int tokens, int channels,
       int count) {
    FOR_EACH(i, count) { // count is that of y
        unsigned channel = i % (unsigned)channels, row = i / (unsigned)channels;
        size_t sample = row / (unsigned)tokens, at = row % (unsigned)tokens;
        float value = at == 0 ? token[channel] : (float)x[(sample * (tokens - 1) + at - 1) * channels + channel];
        y[i] = value + positions[at * channels + channel];
    }
}

// [B, T, C] to [B, T - 1, C] without each first.
KERNEL(drop_token, const T *y, T *x, int tokens, int channels, int count) {
    FOR_EACH(i, count) { // count is that of x
        unsigned channel = i % (unsigned)channels, row = i / (unsigned)channels;
        size_t sample = row / (unsigned)(tokens - 1), at = row % (unsigned)(tokens - 1) + 1;
        x[i] = (float)y[(sample * tokens + at) * channels + channel];
    }
}
