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

// Moments of each column over the rows of one part, [parts, columns]. A thread sums distances to the first value of its
// part, so that a mean far from 0 costs no accuracy.
KERNEL(batch_moments, const T *x, float *means, float *squares, int rows, int columns, int rows_per_part) {
    unsigned column = pack_column(), first = blockIdx.y * rows_per_part;
    unsigned end = min(first + (unsigned)rows_per_part, (unsigned)rows);
    int size = column < (unsigned)columns ? present(column, columns) : 0;
    const T *from = x + column;
    float origin[PACK] = {}, own[2][PACK] = {}, count = 0.0f;
    if (size > 0) {
        load_pack(from + (size_t)first * columns, size, origin);
    }
    for (unsigned row = first + threadIdx.y; size > 0 && row < end; row += blockDim.y) {
        float values[PACK];
        load_pack(from + (size_t)row * columns, size, values);
        count += 1.0f;
        for (int k = 0; k < PACK; k++) {
            float distance = values[k] - origin[k];
            own[0][k] += distance;
            own[1][k] += distance * distance;
        }
    }
    for (int k = 0; k < PACK && count > 0.0f; k++) {
        float mean = own[0][k] / count;
        own[1][k] = at_least(own[1][k] - mean * own[0][k], 0.0f);
        own[0][k] = origin[k] + mean;
    }
    by_column(own, columns, [&](unsigned n, unsigned column, const float *values, unsigned stride) {
        if (n > 0) {
            return; // both come with the mean
        }
        Moments all = {0.0f, 0.0f, 0.0f};
        for (unsigned row = 0; row < blockDim.y && first + row < end; row++) {
            float held = (float)((end - first - row + blockDim.y - 1) / blockDim.y);
            Moments next = {values[row * stride], values[PACK * TILE_THREADS + row * stride], held};
            all = joined(all, next);
        }
        means[(size_t)blockIdx.y * columns + column] = all.mean;
        squares[(size_t)blockIdx.y * columns + column] = all.squares;
    });
}

// The parts' moments joined in a fixed order, in f64: mean and biased variance. Threads in y join every TILE_ROWS-th part.
KERNEL(join_moments, const float *means, const float *squares, float *mean, float *variance, int parts, int rows,
       int columns, int rows_per_part) {
    __shared__ double held[3][TILE_ROWS][TILE_COLUMNS];
    unsigned column = blockIdx.x * TILE_COLUMNS + threadIdx.x;
    double middle = 0.0, sum = 0.0, count = 0.0;
    for (int part = threadIdx.y; part < parts && column < (unsigned)columns; part += TILE_ROWS) {
        double own = min(rows - part * rows_per_part, rows_per_part);
        double total = count + own;
        double delta = (double)means[(size_t)part * columns + column] - middle;
        middle += delta * own / total;
        sum += (double)squares[(size_t)part * columns + column] + delta * delta * count * own / total;
        count = total;
    }
    held[0][threadIdx.y][threadIdx.x] = middle;
    held[1][threadIdx.y][threadIdx.x] = sum;
    held[2][threadIdx.y][threadIdx.x] = count;
    __syncthreads();
    if (threadIdx.y > 0 || column >= (unsigned)columns) {
        return;
    }
    for (int row = 1; row < TILE_ROWS && held[2][row][threadIdx.x] > 0.0; row++) {
        double own = held[2][row][threadIdx.x], total = count + own;
        double delta = held[0][row][threadIdx.x] - middle;
        middle += delta * own / total;
        sum += held[1][row][threadIdx.x] + delta * delta * count * own / total;
        count = total;
    }
    mean[column] = (float)middle;
    variance[column] = (float)(sum / count);
}

__device__ inline float inverse_deviation(float variance, float epsilon) {
    return 1.0f / sqrtf(variance + epsilon);
}

// What batch normalisation does to a pack of columns: y = (x - mean) * scale + shift. `affine` is [2, columns], gamma and
// beta. A thread whose packs lie in the same columns reads it once.
struct Columns {
    unsigned at = ~0u;
    float mean[PACK], inverse[PACK], scale[PACK], shift[PACK];

    // Whether other columns were read.
    __device__ inline bool read(unsigned first, const float *affine, const float *means, const float *variances,
                                float epsilon, int columns) {
        if (first == at) {
            return false;
        }
        at = first;
        for (int k = 0; k < PACK; k++) {
            unsigned column = (first + k) % (unsigned)columns;
            mean[k] = means[column];
            inverse[k] = inverse_deviation(variances[column], epsilon);
            scale[k] = affine[column] * inverse[k];
            shift[k] = affine[columns + column];
        }
        return true;
    }
};

__device__ inline void batch_norm(const T *x, const float *affine, const float *mean, const float *variance,
                                  const T *residual, T *y, float epsilon, float floor, int count, int columns) {
    Columns held;
    FOR_EACH_PACK(first, count) {
        int size = present(first, count);
        float values[PACK], more[PACK] = {};
        load_pack(x + first, size, values);
        if (residual != nullptr) {
            load_pack(residual + first, size, more);
        }
        held.read(first % (unsigned)columns, affine, mean, variance, epsilon, columns);
        for (int k = 0; k < PACK; k++) {
            values[k] = at_least((values[k] - held.mean[k]) * held.scale[k] + held.shift[k] + more[k], floor);
        }
        store_pack(y + first, size, values);
    }
}

KERNEL(batch_norm_forward, const T *x, const float *affine, const float *mean, const float *variance, T *y,
       float epsilon, float floor, int count, int columns) {
    batch_norm(x, affine, mean, variance, nullptr, y, epsilon, floor, count, columns);
}

KERNEL(batch_norm_residual_forward, const T *x, const float *affine, const float *mean, const float *variance,
       const T *residual, T *y, float epsilon, float floor, int count, int columns) {
    batch_norm(x, affine, mean, variance, residual, y, epsilon, floor, count, columns);
}

// Sums of g * normalised x and of g over the rows of one part, [parts, 2, columns]: the gradients of gamma and beta.
// g is the gradient behind the activation: none passes where the result is not above the floor.
KERNEL(batch_norm_sums, const T *x, const T *y, const T *dy, const float *mean, const float *variance,
       float *partial, float epsilon, float floor, int rows, int columns, int rows_per_part) {
    unsigned column = pack_column(), first = blockIdx.y * rows_per_part;
    unsigned end = min(first + (unsigned)rows_per_part, (unsigned)rows);
    int size = column < (unsigned)columns ? present(column, columns) : 0;
    float middle[PACK], inverse[PACK], sums[2][PACK] = {};
    for (int k = 0; k < size; k++) {
        middle[k] = mean[column + k];
        inverse[k] = inverse_deviation(variance[column + k], epsilon);
    }
    for (unsigned row = first + threadIdx.y; size > 0 && row < end; row += blockDim.y) {
        size_t at = (size_t)row * columns + column;
        float values[PACK], results[PACK], gradients[PACK];
        load_pack(x + at, size, values);
        load_pack(y + at, size, results);
        load_pack(dy + at, size, gradients);
        for (int k = 0; k < PACK; k++) {
            float gradient = results[k] <= floor ? 0.0f : gradients[k];
            if (k < size) {
                sums[0][k] += gradient * ((values[k] - middle[k]) * inverse[k]);
                sums[1][k] += gradient;
            }
        }
    }
    column_totals(sums, columns, partial + (size_t)blockIdx.y * 2 * columns);
}

// dx = gamma / sigma * (g - share * sum g - normalised x * share * sum (g * normalised x)), share = 1 / rows; with
// given statistics share = 0. `sums` is what batch_norm_sums' parts add up to.
KERNEL(batch_norm_backward, const T *x, const T *y, const T *dy, const float *affine, const float *mean,
       const float *variance, const float *sums, T *dx, float epsilon, float floor, float share, int count,
       int columns) {
    Columns held;
    float slope[PACK], offset[PACK];
    FOR_EACH_PACK(first, count) {
        int size = present(first, count);
        float values[PACK], results[PACK], gradients[PACK];
        load_pack(x + first, size, values);
        load_pack(y + first, size, results);
        load_pack(dy + first, size, gradients);
        unsigned start = first % (unsigned)columns;
        if (held.read(start, affine, mean, variance, epsilon, columns)) {
            for (int k = 0; k < PACK; k++) {
                unsigned column = (start + k) % (unsigned)columns;
                slope[k] = -held.scale[k] * held.inverse[k] * sums[column] * share;
                offset[k] = -held.scale[k] * sums[columns + column] * share;
            }
        }
        for (int k = 0; k < PACK; k++) {
            float gradient = results[k] <= floor ? 0.0f : gradients[k];
            values[k] = gradient * held.scale[k] + ((values[k] - held.mean[k]) * slope[k] + offset[k]);
        }
        store_pack(dx + first, size, values);
    }
}

// Packs of a row that a lane keeps in registers; longer rows are read again.
#define KEPT 4

// A row of a layer normalisation, a warp's work: lanes take packs in turn.
struct Row {
    const T *values;
    int columns;
    unsigned lane;
    float kept[KEPT][PACK];

    __device__ inline Row(const T *values, int columns)
        : values(values), columns(columns), lane(LANE()) {
        for (int pack = 0; pack < KEPT; pack++) {
            int column = (pack * WARP + lane) * PACK;
            load_pack(values + column, column < columns ? present(column, columns) : 0, kept[pack]);
        }
    }

    // Calls `use(column, size, values)` for each pack of this lane.
    template <typename F> __device__ inline void each(F use) {
#pragma unroll
        for (int pack = 0; pack < KEPT; pack++) {
            int column = (pack * WARP + lane) * PACK;
            if (column < columns) {
                use(column, present(column, columns), kept[pack]);
            }
        }
        for (int column = (KEPT * WARP + lane) * PACK; column < columns; column += WARP * PACK) {
            float more[PACK];
            int size = present(column, columns);
            load_pack(values + column, size, more);
            use(column, size, more);
        }
    }

    // Mean and inverse deviation, the same in every lane.
    __device__ inline float2 moments(float epsilon) {
        float sum = 0.0f, squares = 0.0f;
        each([&](int, int, const float *values) {
            for (int k = 0; k < PACK; k++) {
                sum += values[k]; // 0 behind the end
            }
        });
        float mean = warp_sum(sum) / (float)columns;
        each([&](int, int size, const float *values) {
            for (int k = 0; k < PACK; k++) {
                float distance = k < size ? values[k] - mean : 0.0f;
                squares += distance * distance;
            }
        });
        float variance = warp_sum(squares) / (float)columns;
        return make_float2(mean, 1.0f / sqrtf(variance + epsilon));
    }
};

// A warp a row.
KERNEL(layer_norm_forward, const T *x, const float *gamma, const float *beta, T *y, float epsilon, int rows,
       int columns) {
    unsigned at = ROW();
    if (at >= (unsigned)rows) {
        return; // a whole warp
    }
    Row row(x + (size_t)at * columns, columns);
    T *to = y + (size_t)at * columns;
    float2 moments = row.moments(epsilon);
    row.each([&](int column, int size, const float *values) {
        float scale[PACK], shift[PACK], result[PACK];
        load_floats(gamma + column, size, scale);
        load_floats(beta + column, size, shift);
        for (int k = 0; k < PACK; k++) {
            result[k] = (values[k] - moments.x) * moments.y * scale[k] + shift[k];
        }
        store_pack(to + column, size, result);
    });
}

// A warp a row; leaves each row's mean and inverse deviation for the sums over rows.
KERNEL(layer_norm_backward, const T *x, const float *gamma, const T *dy, T *dx, float *means, float *inverses,
       float epsilon, int rows, int columns) {
    unsigned at = ROW();
    if (at >= (unsigned)rows) {
        return;
    }
    Row row(x + (size_t)at * columns, columns);
    const T *slopes = dy + (size_t)at * columns;
    T *to = dx + (size_t)at * columns;
    float2 moments = row.moments(epsilon);
    float plain = 0.0f, weighted = 0.0f;
    auto gradient = [&](int column, int size, float *slope) {
        float scale[PACK];
        load_floats(gamma + column, size, scale);
        load_pack(slopes + column, size, slope);
        for (int k = 0; k < PACK; k++) {
            slope[k] *= scale[k];
        }
    };
    row.each([&](int column, int size, const float *values) {
        float slope[PACK];
        gradient(column, size, slope);
        for (int k = 0; k < PACK; k++) {
            plain += slope[k];
            weighted += slope[k] * ((values[k] - moments.x) * moments.y);
        }
    });
    float first = warp_sum(plain) / (float)columns, second = warp_sum(weighted) / (float)columns;
    row.each([&](int column, int size, const float *values) {
        float slope[PACK];
        gradient(column, size, slope);
        for (int k = 0; k < PACK; k++) {
            slope[k] = moments.y * (slope[k] - first - (values[k] - moments.x) * moments.y * second);
        }
        store_pack(to + column, size, slope);
    });
    if (LANE() == 0) {
        means[at] = moments.x;
        inverses[at] = moments.y;
    }
}

// Sums of dy * normalised x and of dy over the rows of one part, [parts, 2, columns].
KERNEL(layer_norm_sums, const T *x, const T *dy, const float *means, const float *inverses, float *partial, int rows,
       int columns, int rows_per_part) {
    unsigned column = pack_column(), first = blockIdx.y * rows_per_part;
    unsigned end = min(first + (unsigned)rows_per_part, (unsigned)rows);
    int size = column < (unsigned)columns ? present(column, columns) : 0;
    float sums[2][PACK] = {};
    for (unsigned row = first + threadIdx.y; size > 0 && row < end; row += blockDim.y) {
        size_t at = (size_t)row * columns + column;
        float values[PACK], gradients[PACK], mean = means[row], inverse = inverses[row];
        load_pack(x + at, size, values);
        load_pack(dy + at, size, gradients);
        for (int k = 0; k < PACK; k++) {
            sums[0][k] += gradients[k] * ((values[k] - mean) * inverse);
            sums[1][k] += gradients[k];
        }
    }
    column_totals(sums, columns, partial + (size_t)blockIdx.y * 2 * columns);
}
