// The kernels of candle that gradients outside of this crate's operations go through, with candle's signatures
// (candle-kernels 0.11.1: binary.cu, unary.cu, affine.cu, fill.cu, reduce.cu) and none of its text.
#pragma once

#include "cuda_emulator.h"

inline size_t strided(size_t index, size_t rank, const size_t *dims, const size_t *strides) {
    size_t at = 0;
    for (size_t d = rank; d-- > 0;) {
        at += index % dims[d] * strides[d];
        index /= dims[d];
    }
    return at;
}

#define EACH(i, count) for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += blockDim.x * gridDim.x)

#define BINARY(name, expression)                                                                     \
    KERNEL(name, const size_t count, const size_t rank, const size_t *info, const float *a, const float *b, float *out) { \
        EACH(i, count) {                                                                             \
            float x = a[info ? strided(i, rank, info, info + rank) : i];                             \
            float y = b[info ? strided(i, rank, info, info + 2 * rank) : i];                         \
            out[i] = expression;                                                                     \
        }                                                                                            \
    }
BINARY(badd_f32, x + y)
BINARY(bsub_f32, x - y)
BINARY(bmul_f32, x * y)
BINARY(bdiv_f32, x / y)
BINARY(bmaximum_f32, x > y ? x : y)
BINARY(bminimum_f32, x < y ? x : y)

#define UNARY(name, type, expression)                                                                \
    KERNEL(name, const size_t count, const size_t rank, const size_t *info, const type *in, type *out) { \
        EACH(i, count) {                                                                             \
            type x = in ? in[info ? strided(i, rank, info, info + rank) : i] : out[i];               \
            out[i] = expression;                                                                     \
        }                                                                                            \
    }
UNARY(ucopy_f32, float, x)
UNARY(ucopy_u32, unsigned, x)
UNARY(uexp_f32, float, std::exp(x))
UNARY(ulog_f32, float, std::log(x))
UNARY(uneg_f32, float, -x)
UNARY(usqr_f32, float, x * x)
UNARY(usqrt_f32, float, std::sqrt(x))

KERNEL(affine_f32, const size_t count, const size_t rank, const size_t *info, const float *in, float *out,
       const float factor, const float term) {
    EACH(i, count) {
        float x = in ? in[info ? strided(i, rank, info, info + rank) : i] : out[i];
        out[i] = x * factor + term;
    }
}

#define CONSTANT(name, type)                                                                         \
    KERNEL(name, const size_t count, const size_t rank, const size_t *info, const type value, type *out) { \
        EACH(i, count) {                                                                             \
            out[info ? strided(i, rank, info, info + rank) : i] = value;                             \
        }                                                                                            \
    }
CONSTANT(const_set_f32, float)
CONSTANT(const_set_u32, unsigned)

#define COPY_2D(name, type)                                                                          \
    KERNEL(name, const type *in, type *out, unsigned rows, unsigned columns, unsigned from, unsigned to) { \
        unsigned i = blockIdx.x * blockDim.x + threadIdx.x;                                          \
        if (i < rows * columns) {                                                                    \
            out[i / columns * to + i % columns] = in[i / columns * from + i % columns];              \
        }                                                                                            \
    }
COPY_2D(copy2d_f32, float)
COPY_2D(copy2d_u32, unsigned)

// One block an output.
KERNEL(fast_sum_f32, const size_t count, const size_t each, const size_t rank, const size_t *info, const float *in,
       float *out) {
    if (threadIdx.x == 0) {
        float sum = 0;
        for (size_t i = blockIdx.x * each; i < std::min((size_t)(blockIdx.x + 1) * each, count); i++) {
            sum += in[strided(i, rank, info, info + rank)];
        }
        out[blockIdx.x] = sum;
    }
}

KERNEL(fast_sum_small_f32, const size_t outputs, const size_t each, const size_t rank, const size_t *info,
       const float *in, float *out) {
    size_t own = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (own < outputs) {
        float sum = 0;
        for (size_t i = own * each; i < (own + 1) * each; i++) {
            sum += in[strided(i, rank, info, info + rank)];
        }
        out[own] = sum;
    }
}

#define CAST(name, from, to)                                                                         \
    KERNEL(name, const size_t count, const size_t rank, const size_t *info, const from *in, to *out) { \
        EACH(i, count) {                                                                             \
            out[i] = (to)in[info ? strided(i, rank, info, info + rank) : i];                         \
        }                                                                                            \
    }
CAST(cast_f32_f64, float, double)
CAST(cast_f64_f32, double, float)
CAST(cast_u32_f32, unsigned, float)
CAST(cast_f32_u32, float, unsigned)
CAST(cast_u32_f64, unsigned, double)
CAST(cast_u32_i64, unsigned, long long)
UNARY(ucopy_f64, double, x)
UNARY(ucopy_f16, unsigned short, x)
UNARY(usqr_f64, double, x * x)
CONSTANT(const_set_f64, double)
COPY_2D(copy2d_f64, double)
CONSTANT(const_set_u8, unsigned char)
UNARY(ucopy_u8, unsigned char, x)
COPY_2D(copy2d_u8, unsigned char)

KERNEL(where_u8_f32, const size_t count, const size_t rank, const size_t *info, const unsigned char *which,
       const float *yes, const float *no, float *out) {
    EACH(i, count) {
        bool taken = which[strided(i, rank, info, info + rank)];
        out[i] = taken ? yes[strided(i, rank, info, info + 2 * rank)] : no[strided(i, rank, info, info + 3 * rank)];
    }
}

// f16 is only made to be refused, so its values do not matter.
KERNEL(cast_f32_f16, const size_t count, const size_t rank, const size_t *info, const float *in, unsigned short *out) {
    EACH(i, count) {
        out[i] = 0;
    }
}
