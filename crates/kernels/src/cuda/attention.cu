// Self-attention of short sequences in one pass, a block a sample and head: queries, keys, values and the weights of one head
// stay in shared memory. Sequences are padded to whole tiles. bf16 products run on tensor cores.

#define SIDE 16
// Distances of rows are a little longer than rows, so that rows start in different banks.
#define ROW_PADDING 8
#define SUM_PADDING 4

#ifdef TENSOR_CORES
#include <mma.h>
#include <type_traits>
#endif

#ifdef CLEANBENCH_EMULATOR
#define SHARED_MEMORY(name) alignas(32) static unsigned char name[232448]
#else
#define SHARED_MEMORY(name) extern __shared__ __align__(32) unsigned char name[]
#endif

// A tile of `a . b`, the sum over `depth`; a factor is stored row by row, or transposed. One warp.
#ifdef TENSOR_CORES
template <bool LEFT, bool RIGHT>
__device__ inline void tile_product(float *c, int row, const T *a, int row_a, const T *b, int row_b, int depth) {
    using namespace nvcuda::wmma;
    fragment<accumulator, SIDE, SIDE, SIDE, float> sum;
    fill_fragment(sum, 0.0f);
    for (int k = 0; k < depth; k += SIDE) {
        fragment<matrix_a, SIDE, SIDE, SIDE, T, std::conditional_t<LEFT, col_major, row_major>> left;
        fragment<matrix_b, SIDE, SIDE, SIDE, T, std::conditional_t<RIGHT, col_major, row_major>> right;
        load_matrix_sync(left, LEFT ? a + k * row_a : a + k, row_a);
        load_matrix_sync(right, RIGHT ? b + k : b + k * row_b, row_b);
        mma_sync(sum, left, right, sum);
    }
    store_matrix_sync(c, sum, row, mem_row_major);
}
#else
template <bool LEFT, bool RIGHT>
__device__ inline void tile_product(float *c, int row, const T *a, int row_a, const T *b, int row_b, int depth) {
    for (int at = LANE(); at < SIDE * SIDE; at += WARP) {
        int i = at / SIDE, j = at % SIDE;
        float sum = 0.0f;
        for (int k = 0; k < depth; k++) {
            sum += (float)(LEFT ? a[k * row_a + i] : a[i * row_a + k]) * (float)(RIGHT ? b[j * row_b + k] : b[k * row_b + j]);
        }
        c[i * row + j] = sum;
    }
}
#endif

// The product in shared memory, tiles shared out among warps; LEFT and RIGHT say which factor is transposed.
template <bool LEFT, bool RIGHT>
__device__ inline void block_product(float *c, int row, const T *a, int row_a, const T *b, int row_b, int rows, int columns,
                                     int depth) {
    int across = columns / SIDE;
    for (int tile = threadIdx.x / WARP; tile < rows / SIDE * across; tile += blockDim.x / WARP) {
        int i = tile / across * SIDE, j = tile % across * SIDE;
        tile_product<LEFT, RIGHT>(c + i * row + j, row, LEFT ? a + i : a + i * row_a, row_a, RIGHT ? b + j * row_b : b + j,
                                  row_b, depth);
    }
}

// Rows of a head from memory to shared memory, 0 behind the last.
__device__ inline void read_rows(T *to, const T *from, size_t row, int tokens, int padded, int depth) {
    int packs = depth / PACK;
    for (int i = threadIdx.x; i < padded * packs; i += blockDim.x) {
        int token = i / packs, column = i % packs * PACK;
        float values[PACK];
        load_pack(from + token * row + column, token < tokens ? PACK : 0, values);
        store_pack(to + token * (depth + ROW_PADDING) + column, PACK, values);
    }
}

// Sums of a head from shared memory to memory.
__device__ inline void write_rows(T *to, const float *from, size_t row, int tokens, int depth) {
    int packs = depth / PACK;
    for (int i = threadIdx.x; i < tokens * packs; i += blockDim.x) {
        int token = i / packs, column = i % packs * PACK;
        store_pack(to + token * row + column, PACK, from + token * (depth + SUM_PADDING) + column);
    }
}

// Sizes and places of one head in shared memory.
struct Block {
    int tokens, padded, depth, heads, row, row_weights, row_sums, row_scores;
    size_t start, start_result, step, step_result;

    __device__ inline Block(int tokens, int heads, int depth) : tokens(tokens), depth(depth), heads(heads) {
        padded = (tokens + SIDE - 1) / SIDE * SIDE;
        row = depth + ROW_PADDING;
        row_weights = padded + ROW_PADDING;
        row_sums = depth + SUM_PADDING;
        row_scores = padded + SUM_PADDING;
        size_t sample = blockIdx.x / heads, head = blockIdx.x % heads, width = (size_t)heads * depth;
        step = 3 * width;
        step_result = width;
        start = sample * tokens * step + head * depth;
        start_result = sample * tokens * width + head * depth;
    }
};

// The weights of each row, 0 where not seen and behind the last; a warp a row.
__device__ inline void softmax_of(const Block &block, const float *scores, T *weights, float scale, int causal) {
    for (int query = threadIdx.x / WARP; query < block.padded; query += blockDim.x / WARP) {
        int seen = query >= block.tokens ? 0 : causal ? query + 1 : block.tokens;
        T *to = weights + query * block.row_weights;
        softmax_row(scores + query * block.row_scores, to, scale, seen, block.padded, LANE());
    }
}

// `qkv` is [B, tokens, 3, heads, depth], `y` [B, tokens, heads, depth]; depth is a multiple of SIDE.
KERNEL(attention_forward, const T *qkv, T *y, float scale, int tokens, int heads, int depth, int causal) {
    SHARED_MEMORY(memory);
    Block block(tokens, heads, depth);
    T *q = (T *)memory, *k = q + block.padded * block.row, *v = k + block.padded * block.row;
    float *scores = (float *)(v + block.padded * block.row);
    T *weights = (T *)(scores + block.padded * max(block.row_scores, block.row_sums));
    const T *from = qkv + block.start;
    read_rows(q, from, block.step, tokens, block.padded, depth);
    read_rows(k, from + block.step_result, block.step, tokens, block.padded, depth);
    read_rows(v, from + 2 * block.step_result, block.step, tokens, block.padded, depth);
    __syncthreads();
    block_product<false, true>(scores, block.row_scores, q, block.row, k, block.row, block.padded, block.padded, depth);
    __syncthreads();
    softmax_of(block, scores, weights, scale, causal);
    __syncthreads();
    block_product<false, false>(scores, block.row_sums, weights, block.row_weights, v, block.row, block.padded, depth,
                                block.padded);
    __syncthreads();
    write_rows(y + block.start_result, scores, block.step_result, tokens, depth);
}

// The gradient of qkv, as [B, tokens, 3, heads, depth]. The weights are computed again; the slopes of the scores,
// weights * (g - sum weights * g) * scale with g = dy . v^T, take the place of the values.
KERNEL(attention_gradient, const T *qkv, const T *dy, T *dqkv, float scale, int tokens, int heads, int depth, int causal) {
    SHARED_MEMORY(memory);
    Block block(tokens, heads, depth);
    int values = block.padded * block.row;
    T *q = (T *)memory, *k = q + values, *slope = k + values, *v = slope + values;
    T *weights = v + block.padded * max(block.row, block.row_weights), *slopes = v;
    float *sums = (float *)(weights + block.padded * block.row_weights);
    const T *from = qkv + block.start;
    read_rows(q, from, block.step, tokens, block.padded, depth);
    read_rows(k, from + block.step_result, block.step, tokens, block.padded, depth);
    read_rows(v, from + 2 * block.step_result, block.step, tokens, block.padded, depth);
    read_rows(slope, dy + block.start_result, block.step_result, tokens, block.padded, depth);
    __syncthreads();
    block_product<false, true>(sums, block.row_scores, q, block.row, k, block.row, block.padded, block.padded, depth);
    __syncthreads();
    softmax_of(block, sums, weights, scale, causal);
    __syncthreads();
    block_product<false, true>(sums, block.row_scores, slope, block.row, v, block.row, block.padded, block.padded, depth);
    __syncthreads();
    for (int query = threadIdx.x / WARP; query < block.padded; query += blockDim.x / WARP) {
        int at = query * block.row_weights;
        softmax_slopes(weights + at, sums + query * block.row_scores, slopes + at, scale, block.padded, LANE());
    }
    __syncthreads();
    T *to = dqkv + block.start;
    block_product<false, false>(sums, block.row_sums, slopes, block.row_weights, k, block.row, block.padded, depth, block.padded);
    __syncthreads();
    write_rows(to, sums, block.step, tokens, depth);
    __syncthreads();
    block_product<true, false>(sums, block.row_sums, slopes, block.row_weights, q, block.row, block.padded, depth, block.padded);
    __syncthreads();
    write_rows(to + block.step_result, sums, block.step, tokens, depth);
    __syncthreads();
    block_product<true, false>(sums, block.row_sums, weights, block.row_weights, slope, block.row, block.padded, depth,
                               block.padded);
    __syncthreads();
    write_rows(to + 2 * block.step_result, sums, block.step, tokens, depth);
}
