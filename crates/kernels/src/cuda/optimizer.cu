// AdamW over all parameters in one launch: a block a chunk of one parameter, found by tables.

// The chunk of a block: which parameter, and from where to where.
struct Chunk {
    unsigned entry, first, end;
};

__device__ inline Chunk chunk_of(const unsigned *chunks, const unsigned *sizes, int chunk_values) {
    unsigned entry = chunks[2 * blockIdx.x], first = chunks[2 * blockIdx.x + 1];
    Chunk chunk = {entry, first, min(first + (unsigned)chunk_values, sizes[entry])};
    return chunk;
}

// Sums of squares of the gradients, one a chunk. `pointers` is [4, entries]: parameters, gradients, first and second
// moments; `chunks` is [number of chunks, 2]: parameter and first value.
KERNEL(gradient_squares, const unsigned long long *pointers, const unsigned *sizes, const unsigned *chunks,
       float *squares, int entries, int chunk_values) {
    Chunk chunk = chunk_of(chunks, sizes, chunk_values);
    const float *gradient = (const float *)pointers[entries + chunk.entry];
    float sum = 0.0f;
    for (unsigned i = chunk.first + threadIdx.x; i < chunk.end; i += blockDim.x) {
        sum += gradient[i] * gradient[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        squares[blockIdx.x] = sum;
    }
}

// What gradients are multiplied by so that their norm is at most `largest`, as PyTorch's clip_grad_norm_ does; not
// finite where they are not. One block.
KERNEL(clip_factor, const float *squares, float *factor, float largest, int chunks) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < chunks; i += blockDim.x) {
        sum += squares[i];
    }
    sum = block_sum(sum);
    float share = largest / (sqrtf(sum) + 1e-6f);
    if (threadIdx.x == 0) {
        factor[0] = isfinite(sum) ? (share < 1.0f ? share : 1.0f) : NAN; // nothing moves then
    }
}

// One step. A value whose gradient is not finite is not moved; its chunk's sum of squares says so, and `lost`, one a
// parameter, keeps a 1 until it is looked at.
KERNEL(adamw, const unsigned long long *pointers, const unsigned *sizes, const unsigned *decays,
       const unsigned *chunks, const float *factor, float *squares, unsigned *lost, float step_size, float root_correction,
       float keep_decaying, float beta2, float share1, float share2, float epsilon, int entries, int chunk_values) {
    Chunk chunk = chunk_of(chunks, sizes, chunk_values);
    float *value = (float *)pointers[chunk.entry];
    const float *gradient = (const float *)pointers[entries + chunk.entry];
    float *first = (float *)pointers[2 * entries + chunk.entry];
    float *second = (float *)pointers[3 * entries + chunk.entry];
    float keep = decays[chunk.entry] ? keep_decaying : 1.0f, sum = 0.0f;
    for (unsigned i = chunk.first + threadIdx.x; i < chunk.end; i += blockDim.x) {
        float raw = gradient[i], g = raw * factor[0];
        sum += raw * raw;
        if (isfinite(g * g)) {
            float m = first[i] + (g - first[i]) * share1;
            float v = second[i] * beta2 + g * g * share2;
            first[i] = m;
            second[i] = v;
            value[i] = value[i] * keep - step_size * m / (sqrtf(v) / root_correction + epsilon);
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        squares[blockIdx.x] = sum;
        if (!isfinite(sum)) {
            lost[chunk.entry] = 1; // the same from every block
        }
    }
}
