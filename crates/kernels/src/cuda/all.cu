// The one translation unit of all kernels.
#include "common.cuh"

#include "elementwise.cu"
#include "embedding.cu"
#include "norm.cu"
#include "optimizer.cu"
#include "patches.cu"
#include "rows.cu"
// After what it uses of rows.
#include "attention.cu"
