// The few calls of cuDNN that convolutions make, by plain loops: NHWC, f32, one algorithm for each pass.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

namespace cudnn {

struct Descriptor {
    int type, format, dims[4]; // N, C, H, W; of a filter O, C, KH, KW
};

struct Convolution {
    int padding[2], stride[2], math = -1;
};

struct Algorithm { // as cudnnConvolutionFwdAlgoPerf_t and its kin
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};

const size_t WORKSPACE = 256; // asked for, so that a missing one is noticed

// Each product of a convolution: indices into image, filter and output.
template <typename F> void each(const Descriptor &x, const Descriptor &w, const Descriptor &y, const Convolution &c, F f) {
    for (size_t n = 0; n < (size_t)y.dims[0]; n++)
        for (int oy = 0; oy < y.dims[2]; oy++)
            for (int ox = 0; ox < y.dims[3]; ox++)
                for (int o = 0; o < y.dims[1]; o++)
                    for (int ky = 0; ky < w.dims[2]; ky++)
                        for (int kx = 0; kx < w.dims[3]; kx++) {
                            int row = oy * c.stride[0] + ky - c.padding[0], column = ox * c.stride[1] + kx - c.padding[1];
                            if (row < 0 || row >= x.dims[2] || column < 0 || column >= x.dims[3]) continue;
                            for (int k = 0; k < x.dims[1]; k++)
                                f(((n * x.dims[2] + row) * x.dims[3] + column) * x.dims[1] + k,
                                  (((size_t)o * w.dims[2] + ky) * w.dims[3] + kx) * w.dims[1] + k,
                                  ((n * y.dims[2] + oy) * y.dims[3] + ox) * y.dims[1] + o);
                        }
}

inline size_t bytes(const Descriptor &d) {
    return sizeof(float) * d.dims[0] * d.dims[1] * d.dims[2] * d.dims[3];
}

} // namespace cudnn

API cudnnCreate(void **engine) { *engine = &handle; return 0; }
API cudnnDestroy(void *) { return 0; }
API cudnnSetStream(void *, void *) { return 0; }
extern "C" const char *cudnnGetErrorString(int) { return "an error of the emulated cuDNN"; }
API cudnnCreateTensorDescriptor(cudnn::Descriptor **d) { *d = new cudnn::Descriptor(); return 0; }
API cudnnDestroyTensorDescriptor(cudnn::Descriptor *d) { delete d; return 0; }
API cudnnCreateFilterDescriptor(cudnn::Descriptor **d) { *d = new cudnn::Descriptor(); return 0; }
API cudnnDestroyFilterDescriptor(cudnn::Descriptor *d) { delete d; return 0; }
API cudnnCreateConvolutionDescriptor(cudnn::Convolution **d) { *d = new cudnn::Convolution(); return 0; }
API cudnnDestroyConvolutionDescriptor(cudnn::Convolution *d) { delete d; return 0; }
API cudnnSetTensor4dDescriptor(cudnn::Descriptor *d, int format, int type, int n, int c, int h, int w) {
    *d = {type, format, {n, c, h, w}};
    return format == 1 && type == 0 ? 0 : 3000; // NHWC and f32, else CUDNN_STATUS_NOT_SUPPORTED
}
API cudnnSetFilter4dDescriptor(cudnn::Descriptor *d, int type, int format, int o, int c, int h, int w) {
    *d = {type, format, {o, c, h, w}};
    return format == 1 && type == 0 ? 0 : 3000;
}
API cudnnSetConvolution2dDescriptor(cudnn::Convolution *d, int ph, int pw, int sh, int sw, int dh, int dw, int mode,
                                    int type) {
    d->padding[0] = ph, d->padding[1] = pw, d->stride[0] = sh, d->stride[1] = sw;
    return dh == 1 && dw == 1 && mode == 1 && type == 0 ? 0 : 3000;
}
API cudnnSetConvolutionMathType(cudnn::Convolution *d, int math) { d->math = math; return 0; }

// A better one that is not deterministic comes first: it must not be taken.
inline Result ranked(int *count, cudnn::Algorithm *found) {
    found[0] = {9, 0, 1.0f, 0, 0, 0, {}};
    found[1] = {1, 0, 2.0f, cudnn::WORKSPACE, 1, 0, {}};
    *count = 2;
    return 0;
}
API cudnnGetConvolutionForwardAlgorithm_v7(void *, void *, void *, void *, void *, int, int *count, cudnn::Algorithm *found) { return ranked(count, found); }
API cudnnGetConvolutionBackwardDataAlgorithm_v7(void *, void *, void *, void *, void *, int, int *count, cudnn::Algorithm *found) { return ranked(count, found); }
API cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *, void *, void *, void *, void *, int, int *count, cudnn::Algorithm *found) { return ranked(count, found); }

inline void allowed(int algorithm, void *space, size_t size, const cudnn::Convolution *c) {
    if (algorithm != 1 || size < cudnn::WORKSPACE || c->math != 3) { // CUDNN_FMA_MATH: no TF32
        fail("a convolution by an algorithm that was not to be chosen");
    }
    check((Pointer)space, size, "workspace");
    std::memset(space, 0xff, size);
}

API cudnnConvolutionForward(void *, const float *, cudnn::Descriptor *dx, const float *x, cudnn::Descriptor *dw,
                            const float *w, cudnn::Convolution *c, int algorithm, void *space, size_t size,
                            const float *, cudnn::Descriptor *dy, float *y) {
    allowed(algorithm, space, size, c);
    check((Pointer)x, cudnn::bytes(*dx), "x"), check((Pointer)w, cudnn::bytes(*dw), "w"), check((Pointer)y, cudnn::bytes(*dy), "y");
    std::vector<double> sums(cudnn::bytes(*dy) / sizeof(float));
    cudnn::each(*dx, *dw, *dy, *c, [&](size_t i, size_t j, size_t k) { sums[k] += (double)x[i] * w[j]; });
    std::copy(sums.begin(), sums.end(), y);
    return 0;
}
API cudnnConvolutionBackwardData(void *, const float *, cudnn::Descriptor *dw, const float *w, cudnn::Descriptor *dy,
                                 const float *y, cudnn::Convolution *c, int algorithm, void *space, size_t size,
                                 const float *, cudnn::Descriptor *dx, float *x) {
    allowed(algorithm, space, size, c);
    check((Pointer)x, cudnn::bytes(*dx), "dx"), check((Pointer)w, cudnn::bytes(*dw), "w"), check((Pointer)y, cudnn::bytes(*dy), "dy");
    std::vector<double> sums(cudnn::bytes(*dx) / sizeof(float));
    cudnn::each(*dx, *dw, *dy, *c, [&](size_t i, size_t j, size_t k) { sums[i] += (double)y[k] * w[j]; });
    std::copy(sums.begin(), sums.end(), x);
    return 0;
}
API cudnnConvolutionBackwardFilter(void *, const float *, cudnn::Descriptor *dx, const float *x, cudnn::Descriptor *dy,
                                   const float *y, cudnn::Convolution *c, int algorithm, void *space, size_t size,
                                   const float *, cudnn::Descriptor *dw, float *w) {
    allowed(algorithm, space, size, c);
    check((Pointer)x, cudnn::bytes(*dx), "x"), check((Pointer)w, cudnn::bytes(*dw), "dw"), check((Pointer)y, cudnn::bytes(*dy), "dy");
    std::vector<double> sums(cudnn::bytes(*dw) / sizeof(float));
    cudnn::each(*dx, *dw, *dy, *c, [&](size_t i, size_t j, size_t k) { sums[j] += (double)y[k] * x[i]; });
    std::copy(sums.begin(), sums.end(), w);
    return 0;
}
