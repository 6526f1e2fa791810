// What is done row by row, a warp a row: softmax, row normalisation, cross-entropy.

// softmax(scores * scale) of one row, of which the first `seen` keys count; 0 behind them. `weights` may be the scores.
template <typename S>
__device__ inline void softmax_row(const S *scores, T *weights, float scale, int seen, int keys, unsigned lane) {
    float largest = -INFINITY, sum = 0.0f;
    for (int key = lane; key < seen; key += WARP) {
        float value = scores[key];
        largest = value > largest ? value : largest;
    }
    largest = warp_largest(largest);
    for (int key = lane; key < seen; key += WARP) {
        sum += expf(((float)scores[key] - largest) * scale);
    }
    float inverse = 1.0f / warp_sum(sum);
    for (int key = lane; key < keys; key += WARP) {
        weights[key] = key < seen ? expf(((float)scores[key] - largest) * scale) * inverse : 0.0f;
    }
}

// Gradient of one row of scores out of that of its weights: w * (g - sum w * g) * scale. `slopes` may be the gradients.
template <typename S>
__device__ inline void softmax_slopes(const T *weights, const S *gradients, T *slopes, float scale, int keys, unsigned lane) {
    float sum = 0.0f;
    for (int key = lane; key < keys; key += WARP) {
        sum += (float)weights[key] * (float)gradients[key];
    }
    float mean = warp_sum(sum);
    for (int key = lane; key < keys; key += WARP) {
        slopes[key] = (float)weights[key] * ((float)gradients[key] - mean) * scale;
    }
}

// Softmax of each row of scores [.., queries, keys] in place, scaled first; where causal, query i sees keys 0..=i.
KERNEL(softmax_rows, T *scores, float scale, int queries, int keys, int causal, int rows) {
    unsigned row = ROW(), lane = LANE();
    if (row >= (unsigned)rows) {
        return; // a whole warp
    }
    T *values = scores + (size_t)row * keys;
    int seen = causal ? (int)(row % (unsigned)queries) + 1 : keys;
    softmax_row(values, values, scale, seen, keys, lane);
}

// Gradient of the scores out of that of the weights, in place: w * (g - sum w * g) * scale.
KERNEL(softmax_backward, const T *weights, T *slopes, float scale, int keys, int rows) {
    unsigned row = ROW(), lane = LANE();
    if (row >= (unsigned)rows) {
        return;
    }
    T *slope = slopes + (size_t)row * keys;
    softmax_slopes(weights + (size_t)row * keys, slope, slope, scale, keys, lane);
}

// 1 over the length of a row; as shares of the largest value, squares neither overflow nor vanish.
__device__ inline float inverse_norm(const T *row, int columns, unsigned lane) {
    float largest = 0.0f, sum = 0.0f;
    for (int i = lane; i < columns; i += WARP) {
        float size = fabsf((float)row[i]);
        largest = size > largest ? size : largest;
    }
    largest = warp_largest(largest);
    float unit = largest > 0.0f ? largest : 1.0f;
    for (int i = lane; i < columns; i += WARP) {
        float share = (float)row[i] / unit;
        sum += share * share;
    }
    float norm = sqrtf(warp_sum(sum)) * unit;
    return 1.0f / (norm < 1e-12f ? 1e-12f : norm);
}

KERNEL(l2_normalize_forward, const T *x, T *y, int rows, int columns) {
    unsigned row = ROW(), lane = LANE();
    if (row >= (unsigned)rows) {
        return;
    }
    const T *from = x + (size_t)row * columns;
    T *to = y + (size_t)row * columns;
    float inverse = inverse_norm(from, columns, lane);
    for (int i = lane; i < columns; i += WARP) {
        to[i] = (float)from[i] * inverse;
    }
}

// dx = (dy - y * (y . dy)) / |x|
KERNEL(l2_normalize_backward, const T *x, const T *y, const T *dy, T *dx, int rows, int columns) {
    unsigned row = ROW(), lane = LANE();
    if (row >= (unsigned)rows) {
        return;
    }
    size_t start = (size_t)row * columns;
    float inverse = inverse_norm(x + start, columns, lane);
    float sum = 0.0f;
    for (int i = lane; i < columns; i += WARP) {
        sum += (float)y[start + i] * (float)dy[start + i];
    }
    float along = warp_sum(sum);
    for (int i = lane; i < columns; i += WARP) {
        dx[start + i] = ((float)dy[start + i] - (float)y[start + i] * along) * inverse;
    }
}

// Largest logit of a row and ln of the sum of e^(logit - largest).
__device__ inline float2 log_sum_exp(const T *row, int classes, unsigned lane) {
    float largest = -INFINITY, sum = 0.0f;
    for (int i = lane; i < classes; i += WARP) {
        float value = row[i];
        largest = value > largest ? value : largest;
    }
    largest = warp_largest(largest);
    for (int i = lane; i < classes; i += WARP) {
        sum += expf((float)row[i] - largest);
    }
    return make_float2(largest, logf(warp_sum(sum)));
}

// Cross-entropy of each row; a target that is no class gives NaN, as an error cannot be raised here without waiting.
KERNEL(cross_entropy_forward, const T *logits, const unsigned *targets, float *losses, int rows, int classes) {
    unsigned row = ROW(), lane = LANE();
    if (row >= (unsigned)rows) {
        return;
    }
    const T *values = logits + (size_t)row * classes;
    float2 parts = log_sum_exp(values, classes, lane);
    unsigned target = targets[row];
    if (lane == 0) {
        losses[row] = target < (unsigned)classes ? parts.y + parts.x - (float)values[target] : NAN;
    }
}

// `gradient` is that of the mean, one value.
KERNEL(cross_entropy_backward, const T *logits, const unsigned *targets, const float *gradient, T *dlogits, int rows,
       int classes) {
    unsigned row = ROW(), lane = LANE();
    if (row >= (unsigned)rows) {
        return;
    }
    size_t start = (size_t)row * classes;
    float2 parts = log_sum_exp(logits + start, classes, lane);
    float scale = gradient[0] / (float)rows;
    unsigned target = targets[row];
    for (int i = lane; i < classes; i += WARP) {
        float share = expf((float)logits[start + i] - parts.x - parts.y) * scale;
        dlogits[start + i] = share - ((unsigned)i == target ? scale : 0.0f);
    }
}

// The mean of all values; one block.
KERNEL(mean_of, const float *x, float *y, int count) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        sum += x[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        y[0] = sum / (float)count;
    }
}
