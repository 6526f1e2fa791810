// What all kernels share. One translation unit (all.cu) is compiled once per element type T of activations; sums are
// f32 and their order depends on shapes alone, so that the same input gives the same bytes.
//
// build.rs reads every `KERNEL(name, parameters)` and writes a Rust function with the same parameters, so that a
// call that does not fit is an error of the Rust compiler: `T` is a tensor's element, pointers to const are read.
#pragma once

#ifndef CLEANBENCH_EMULATOR
#include <cuda_bf16.h>
#endif

#ifndef ELEMENT
#define ELEMENT float
#endif
typedef ELEMENT T;

#ifndef KERNEL
#define KERNEL(name, ...) extern "C" __global__ void name(__VA_ARGS__)
#endif

// Every index of 0..count that falls to this thread. Unsigned, so that the step past the end does not overflow.
#define FOR_EACH(index, count)                                                                       \
    for (unsigned index = blockIdx.x * blockDim.x + threadIdx.x; index < (unsigned)(count);          \
         index += gridDim.x * blockDim.x)

// Values that a thread reads or writes at once: 16 bytes of them.
#define PACK ((int)(16 / sizeof(T)))

// The first of every PACK values of 0..count that fall to this thread.
#define FOR_EACH_PACK(first, count)                                                                  \
    for (unsigned first = (blockIdx.x * blockDim.x + threadIdx.x) * PACK; first < (unsigned)(count); \
         first += gridDim.x * blockDim.x * PACK)

// May stand for values of any type.
struct __attribute__((may_alias, aligned(16))) Bytes {
    unsigned words[4];
};

// Whether 16 bytes can be read and written here at once.
__device__ inline bool is_aligned(const void *pointer) {
    return (size_t)pointer % sizeof(Bytes) == 0;
}

// How many of the PACK values from `first` on are there.
__device__ inline int present(unsigned first, int count) {
    int left = count - (int)first;
    return left < PACK ? left : PACK;
}

// `count` values at `from`, 0 behind them; whole packs at once where memory allows.
__device__ inline void load_pack(const T *from, int count, float *to) {
    if (count == PACK && is_aligned(from)) {
        alignas(16) T values[PACK];
        *(Bytes *)values = *(const Bytes *)from;
        for (int k = 0; k < PACK; k++) {
            to[k] = values[k];
        }
        return;
    }
    for (int k = 0; k < PACK; k++) {
        to[k] = k < count ? (float)from[k] : 0.0f;
    }
}

// As many f32 values as a pack has.
__device__ inline void load_floats(const float *from, int count, float *to) {
    for (int k = 0; k < PACK; k++) {
        to[k] = k < count ? from[k] : 0.0f;
    }
}

__device__ inline void store_pack(T *to, int count, const float *from) {
    if (count == PACK && is_aligned(to)) {
        alignas(16) T values[PACK];
        for (int k = 0; k < PACK; k++) {
            values[k] = from[k];
        }
        *(Bytes *)to = *(const Bytes *)values;
        return;
    }
    for (int k = 0; k < PACK; k++) {
        if (k < count) {
            to[k] = from[k];
        }
    }
}

// y[i] = f(x[i]) for all values.
template <typename F> __device__ inline void each_value(const T *x, T *y, int count, F f) {
    FOR_EACH_PACK(first, count) {
        int size = present(first, count);
        float values[PACK];
        load_pack(x + first, size, values);
        for (int k = 0; k < PACK; k++) {
            values[k] = f(values[k]);
        }
        store_pack(y + first, size, values);
    }
}

// y[i] = f(a[i], b[i]) for all values.
template <typename F> __device__ inline void each_pair(const T *a, const T *b, T *y, int count, F f) {
    FOR_EACH_PACK(first, count) {
        int size = present(first, count);
        float left[PACK], right[PACK];
        load_pack(a + first, size, left);
        load_pack(b + first, size, right);
        for (int k = 0; k < PACK; k++) {
            left[k] = f(left[k], right[k]);
        }
        store_pack(y + first, size, left);
    }
}

#define WARP 32
// Where a warp has a row: which, and this thread's place in it.
#define ROW() (blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP)
#define LANE() (threadIdx.x % WARP)
// Blocks of a gradient of rows: 32 columns side by side (one line of memory), 8 rows at a time.
#define TILE_COLUMNS 32
#define TILE_ROWS 8
// Blocks that sum columns: threads in x have a pack of columns each, those in y rows.
#define TILE_THREADS 256

// The sum over a warp, the same in every lane: a butterfly, whose order is fixed.
__device__ inline float warp_sum(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    }
    return value;
}

__device__ inline float warp_largest(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, value, distance);
        value = other > value ? other : value;
    }
    return value;
}

// The sum over a block of whole warps, the same in every thread.
__device__ inline float block_sum(float value) {
    __shared__ float partial[WARP];
    value = warp_sum(value);
    __syncthreads(); // what an earlier call left has been read
    if (threadIdx.x % WARP == 0) {
        partial[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    float total = 0.0f;
    for (unsigned warp = 0; warp < blockDim.x / WARP; warp++) {
        total += partial[warp];
    }
    return total;
}

// The larger of x and floor; a lost number (NaN) stays one, so that it reaches the loss.
__device__ inline float at_least(float x, float floor) {
    return floor > x ? floor : x;
}

// Sums over the rows of a TILE_COLUMNS x TILE_ROWS block, a fixed tree; valid in the threads of row 0.
__device__ inline float tile_sum(float value) {
    __shared__ float tile[TILE_ROWS][TILE_COLUMNS];
    __syncthreads();
    tile[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = TILE_ROWS / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) {
            tile[threadIdx.y][threadIdx.x] += tile[threadIdx.y + half][threadIdx.x];
        }
        __syncthreads();
    }
    return tile[0][threadIdx.x];
}

// The first column of a thread of a block that sums columns.
__device__ inline unsigned pack_column() {
    return (blockIdx.x * blockDim.x + threadIdx.x) * PACK;
}

// What the threads of a block hold for each column, handed over column by column: `use(n, column, values, stride)` gets
// the blockDim.y values of sum `n`, `stride` apart, in the order of rows.
template <int N, typename F> __device__ inline void by_column(const float (&own)[N][PACK], int columns, F use) {
    __shared__ float held[N * PACK * TILE_THREADS];
    unsigned thread = threadIdx.y * blockDim.x + threadIdx.x, lanes = blockDim.x;
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < PACK; k++) {
            held[(n * PACK + k) * TILE_THREADS + thread] = own[n][k];
        }
    }
    __syncthreads();
    for (unsigned at = thread; at < N * PACK * lanes; at += TILE_THREADS) {
        unsigned lane = at % lanes, k = at / lanes % PACK, n = at / lanes / PACK;
        unsigned column = (blockIdx.x * lanes + lane) * PACK + k;
        if (column < (unsigned)columns) {
            use(n, column, held + (n * PACK + k) * TILE_THREADS + lane, lanes);
        }
    }
}

// Sums over the rows of a block, sum `n` of a column at `to[n * columns + column]`.
template <int N> __device__ inline void column_totals(const float (&own)[N][PACK], int columns, float *to) {
    by_column(own, columns, [&](unsigned n, unsigned column, const float *values, unsigned stride) {
        float sum = 0.0f;
        for (unsigned row = 0; row < blockDim.y; row++) {
            sum += values[row * stride];
        }
        to[(size_t)n * columns + column] = sum;
    });
}
