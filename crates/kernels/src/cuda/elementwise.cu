// Element-wise operations, sums of columns, and average pooling.

KERNEL(add, const T *a, const T *b, T *y, int count) {
    FOR_EACH(i, count) {
        y[i] = (float)a[i] + (float)b[i];
    }
}

// The gradient behind a ReLU: none passes where the result is not above 0.
KERNEL(mask, const T *y, const T *dy, T *dx, int count) {
    FOR_EACH(i, count) {
        dx[i] = (float)y[i] <= 0.0f ? 0.0f : (float)dy[i];
    }
}

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-1.702f * x));
}

KERNEL(quick_gelu_forward, const T *x, T *y, int count) {
    FOR_EACH(i, count) {
        float value = x[i];
        y[i] = value * sigmoid(value);
    }
}

KERNEL(quick_gelu_backward, const T *x, const T *dy, T *dx, int count) {
    FOR_EACH(i, count) {
        float value = x[i], s = sigmoid(value);
        dx[i] = (float)dy[i] * (s + 1.702f * value * s * (1.0f - s));
    }
}

// x times the normal distribution's share below it, exact as PyTorch's default.
KERNEL(gelu_forward, const T *x, T *y, int count) {
    FOR_EACH(i, count) {
        float value = x[i];
        y[i] = 0.5f * value * (1.0f + erff(value * 0.70710678f));
    }
}

KERNEL(gelu_backward, const T *x, const T *dy, T *dx, int count) {
    FOR_EACH(i, count) {
        float value = x[i], below = 0.5f * (1.0f + erff(value * 0.70710678f));
        dx[i] = (float)dy[i] * (below + value * 0.39894228f * expf(-0.5f * value * value));
    }
}

KERNEL(scale, const T *x, T *y, float factor, int count) {
    FOR_EACH(i, count) {
        y[i] = (float)x[i] * factor;
    }
}

// y plus a row repeated down: positions of samples, the bias of a layer.
KERNEL(add_row, const T *x, const float *row, T *y, int count, int columns) {
    FOR_EACH(i, count) {
        y[i] = (float)x[i] + row[i % (unsigned)columns];
    }
}

KERNEL(add_row_inplace, T *y, const float *row, int count, int columns) {
    FOR_EACH(i, count) {
        y[i] = (float)y[i] + row[i % (unsigned)columns];
    }
}

// Sums of each column over the rows of one part, [parts, columns].
KERNEL(column_sums, const T *x, float *partial, int rows, int columns, int rows_per_part) {
    unsigned column = blockIdx.x * TILE_COLUMNS + threadIdx.x;
    unsigned first = blockIdx.y * rows_per_part;
    unsigned end = min(first + (unsigned)rows_per_part, (unsigned)rows);
    float sum = 0.0f;
    if (column < (unsigned)columns) {
        for (unsigned row = first + threadIdx.y; row < end; row += TILE_ROWS) {
            sum += (float)x[(size_t)row * columns + column];
        }
    }
    sum = tile_sum(sum);
    if (threadIdx.y == 0 && column < (unsigned)columns) {
        partial[(size_t)blockIdx.y * columns + column] = sum;
    }
}

// The parts' sums added in order.
KERNEL(join_sums, const float *partial, float *y, int parts, int columns) {
    FOR_EACH(column, columns) {
        float sum = 0.0f;
        for (int part = 0; part < parts; part++) {
            sum += partial[(size_t)part * columns + column];
        }
        y[column] = sum;
    }
}

// [N, H, W, C] to [N, H/size, W/size, C].
KERNEL(average_pool_forward, const T *x, T *y, int size, int height, int width, int channels, int count) {
    unsigned out_height = height / size, out_width = width / size;
    float share = 1.0f / (float)(size * size);
    FOR_EACH(i, count) {
        unsigned channel = i % (unsigned)channels, pixel = i / (unsigned)channels;
        unsigned column = pixel % out_width, row = pixel / out_width % out_height;
        unsigned image = pixel / out_width / out_height;
        float sum = 0.0f;
        for (int dy = 0; dy < size; dy++) {
            for (int dx = 0; dx < size; dx++) {
                size_t from = ((size_t)image * height + row * size + dy) * width + column * size + dx;
                sum += (float)x[from * channels + channel];
            }
        }
        y[i] = sum * share;
    }
}

KERNEL(average_pool_backward, const T *dy, T *dx, int size, int height, int width, int channels, int count) {
    unsigned out_height = height / size, out_width = width / size;
    float share = 1.0f / (float)(size * size);
    FOR_EACH(i, count) {
        unsigned channel = i % (unsigned)channels, pixel = i / (unsigned)channels;
        unsigned column = pixel % (unsigned)width / size, row = pixel / (unsigned)width % (unsigned)height / size;
        unsigned image = pixel / (unsigned)width / (unsigned)height;
        bool inside = row < out_height && column < out_width; // sides are rounded down
        size_t from = ((size_t)image * out_height + row) * out_width + column;
        dx[i] = inside ? (float)dy[from * channels + channel] * share : 0.0f;
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
