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

#define WARP 32
// Blocks that sum columns: 32 columns side by side (one line of memory), 8 rows at a time.
#define TILE_COLUMNS 32
#define TILE_ROWS 8

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
