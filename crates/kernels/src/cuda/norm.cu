// Batch and layer normalisation.

// Mean and sum of squares around it of `count` values.
struct Moments {
    float mean, squares, count;
};

// Two sets of values joined (Chan, Golub and LeVeque 1979).
__device__ inline Moments joined(Moments a, Moments b) {
    float count = a.count + b.count;
    if (count == 0.0f) {
        return a;
    }
    float delta = b.mean - a.mean, share = b.count / count;
    Moments both = {a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share, count};
    return both;
}

// Welford's moments of each column over the rows of one part, [parts, columns].
KERNEL(batch_moments, const T *x, float *means, float *squares, int rows, int columns, int rows_per_part) {
    __shared__ Moments tile[TILE_ROWS][TILE_COLUMNS];
    unsigned column = blockIdx.x * TILE_COLUMNS + threadIdx.x;
    unsigned first = blockIdx.y * rows_per_part;
    unsigned end = min(first + (unsigned)rows_per_part, (unsigned)rows);
    Moments own = {0.0f, 0.0f, 0.0f};
    if (column < (unsigned)columns) {
        for (unsigned row = first + threadIdx.y; row < end; row += TILE_ROWS) {
            float value = x[(size_t)row * columns + column];
            float delta = value - own.mean;
            own.count += 1.0f;
            own.mean += delta / own.count;
            own.squares += delta * (value - own.mean);
        }
    }
    tile[threadIdx.y][threadIdx.x] = own;
    __syncthreads();
    for (unsigned half = TILE_ROWS / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) {
            tile[threadIdx.y][threadIdx.x] =
                joined(tile[threadIdx.y][threadIdx.x], tile[threadIdx.y + half][threadIdx.x]);
        }
        __syncthreads();
    }
    if (threadIdx.y == 0 && column < (unsigned)columns) {
        means[(size_t)blockIdx.y * columns + column] = tile[0][threadIdx.x].mean;
        squares[(size_t)blockIdx.y * columns + column] = tile[0][threadIdx.x].squares;
    }
}

// The parts' moments joined in order, in f64: mean and biased variance.
KERNEL(join_moments, const float *means, const float *squares, float *mean, float *variance, int parts, int rows,
       int columns, int rows_per_part) {
    FOR_EACH(column, columns) {
        double middle = 0.0, sum = 0.0, count = 0.0;
        for (int part = 0; part < parts; part++) {
            double own = min(rows - part * rows_per_part, rows_per_part);
            double total = count + own;
            double delta = (double)means[(size_t)part * columns + column] - middle;
            middle += delta * own / total;
            sum += (double)squares[(size_t)part * columns + column] + delta * delta * count * own / total;
            count = total;
        }
        mean[column] = (float)middle;
        variance[column] = (float)(sum / count);
    }
}

__device__ inline float inverse_deviation(float variance, float epsilon) {
    return 1.0f / sqrtf(variance + epsilon);
}

// `affine` is [2, columns]: gamma and beta.
__device__ inline float normalised(float x, const float *affine, const float *mean, const float *variance,
                                   float epsilon, unsigned column, int columns) {
    float scale = affine[column] * inverse_deviation(variance[column], epsilon);
    return (x - mean[column]) * scale + affine[columns + column];
}

KERNEL(batch_norm_forward, const T *x, const float *affine, const float *mean, const float *variance, T *y,
       float epsilon, float floor, int count, int columns) {
    FOR_EACH(i, count) {
        float value = normalised(x[i], affine, mean, variance, epsilon, i % (unsigned)columns, columns);
        y[i] = at_least(value, floor);
    }
}

KERNEL(batch_norm_residual_forward, const T *x, const float *affine, const float *mean, const float *variance,
       const T *residual, T *y, float epsilon, float floor, int count, int columns) {
    FOR_EACH(i, count) {
        float value = normalised(x[i], affine, mean, variance, epsilon, i % (unsigned)columns, columns);
        y[i] = at_least(value + (float)residual[i], floor);
    }
}

// Sums of g * normalised x and of g over the rows of one part, [parts, 2, columns]: the gradients of gamma and beta.
// g is the gradient behind the activation: none passes where the result is not above the floor.
KERNEL(batch_norm_sums, const T *x, const T *y, const T *dy, const float *mean, const float *variance,
       float *partial, float epsilon, float floor, int rows, int columns, int rows_per_part) {
    unsigned column = blockIdx.x * TILE_COLUMNS + threadIdx.x;
    unsigned first = blockIdx.y * rows_per_part;
    unsigned end = min(first + (unsigned)rows_per_part, (unsigned)rows);
    float plain = 0.0f, weighted = 0.0f;
    if (column < (unsigned)columns) {
        float middle = mean[column], inverse = inverse_deviation(variance[column], epsilon);
        for (unsigned row = first + threadIdx.y; row < end; row += TILE_ROWS) {
            size_t i = (size_t)row * columns + column;
            float gradient = (float)y[i] <= floor ? 0.0f : (float)dy[i];
            plain += gradient;
            weighted += gradient * (((float)x[i] - middle) * inverse);
        }
    }
    plain = tile_sum(plain);
    weighted = tile_sum(weighted);
    if (threadIdx.y == 0 && column < (unsigned)columns) {
        float *to = partial + (size_t)blockIdx.y * 2 * columns;
        to[column] = weighted;
        to[columns + column] = plain;
    }
}

// dx = gamma / sigma * (g - share * sum g - normalised x * share * sum (g * normalised x)), share = 1 / rows; with
// given statistics share = 0. `sums` is what batch_norm_sums' parts add up to.
KERNEL(batch_norm_backward, const T *x, const T *y, const T *dy, const float *affine, const float *mean,
       const float *variance, const float *sums, T *dx, float epsilon, float floor, float share, int count,
       int columns) {
    FOR_EACH(i, count) {
        unsigned column = i % (unsigned)columns;
        float inverse = inverse_deviation(variance[column], epsilon);
        float scale = affine[column] * inverse;
        float slope = -scale * inverse * sums[column] * share;
        float offset = -scale * sums[columns + column] * share;
        float gradient = (float)y[i] <= floor ? 0.0f : (float)dy[i];
        dx[i] = gradient * scale + (((float)x[i] - mean[column]) * slope + offset);
    }
}

// Mean and inverse deviation of a row, the same in every thread of the block.
__device__ inline float2 row_moments(const T *row, float epsilon, int columns) {
    float sum = 0.0f, squares = 0.0f;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        sum += (float)row[i];
    }
    float mean = block_sum(sum) / (float)columns;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        float distance = (float)row[i] - mean;
        squares += distance * distance;
    }
    float variance = block_sum(squares) / (float)columns;
    return make_float2(mean, 1.0f / sqrtf(variance + epsilon));
}

// A block a row.
KERNEL(layer_norm_forward, const T *x, const float *gamma, const float *beta, T *y, float epsilon, int columns) {
    const T *row = x + (size_t)blockIdx.x * columns;
    T *to = y + (size_t)blockIdx.x * columns;
    float2 moments = row_moments(row, epsilon, columns);
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        to[i] = ((float)row[i] - moments.x) * moments.y * gamma[i] + beta[i];
    }
}

// A block a row; leaves each row's mean and inverse deviation for the sums over rows.
KERNEL(layer_norm_backward, const T *x, const float *gamma, const T *dy, T *dx, float *means, float *inverses,
       float epsilon, int columns) {
    const T *row = x + (size_t)blockIdx.x * columns;
    const T *slope = dy + (size_t)blockIdx.x * columns;
    T *to = dx + (size_t)blockIdx.x * columns;
    float2 moments = row_moments(row, epsilon, columns);
    float plain = 0.0f, weighted = 0.0f;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        float gradient = (float)slope[i] * gamma[i];
        plain += gradient;
        weighted += gradient * (((float)row[i] - moments.x) * moments.y);
    }
    float first = block_sum(plain) / (float)columns, second = block_sum(weighted) / (float)columns;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        float normal = ((float)row[i] - moments.x) * moments.y;
        to[i] = moments.y * ((float)slope[i] * gamma[i] - first - normal * second);
    }
    if (threadIdx.x == 0) {
        means[blockIdx.x] = moments.x;
        inverses[blockIdx.x] = moments.y;
    }
}

// Sums of dy * normalised x and of dy over the rows of one part, [parts, 2, columns].
KERNEL(layer_norm_sums, const T *x, const T *dy, const float *means, const float *inverses, float *partial, int rows,
       int columns, int rows_per_part) {
    unsigned column = blockIdx.x * TILE_COLUMNS + threadIdx.x;
    unsigned first = blockIdx.y * rows_per_part;
    unsigned end = min(first + (unsigned)rows_per_part, (unsigned)rows);
    float plain = 0.0f, weighted = 0.0f;
    if (column < (unsigned)columns) {
        for (unsigned row = first + threadIdx.y; row < end; row += TILE_ROWS) {
            size_t i = (size_t)row * columns + column;
            plain += (float)dy[i];
            weighted += (float)dy[i] * (((float)x[i] - means[row]) * inverses[row]);
        }
    }
    plain = tile_sum(plain);
    weighted = tile_sum(weighted);
    if (threadIdx.y == 0 && column < (unsigned)columns) {
        float *to = partial + (size_t)blockIdx.y * 2 * columns;
        to[column] = weighted;
        to[columns + column] = plain;
    }
}
