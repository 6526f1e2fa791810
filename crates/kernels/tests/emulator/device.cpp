// A CUDA device that is none: the few functions of the driver, cuBLAS and cuDNN that a build with the feature `cuda`
// calls, on the CPU and at once. Kernels are those of src/cuda in the emulator, products and convolutions plain loops.
// scripts/gpu-emulate links this as libcuda.so.1 and the others, so that the same program that is meant for a GPU runs
// its host side here: arguments, shapes, strides, sizes of workspaces. It shows nothing of speed, of the order of
// streams, of what the real libraries support, or of their rounding.
#include "cuda_emulator.h"

#include <mutex>

#include "../../src/cuda/all.cu"
#include "candle_kernels.h"

namespace {

typedef int Result; // 0 is success everywhere
typedef unsigned long long Pointer;

std::mutex lock;
std::map<Pointer, size_t> allocations;
const unsigned char GUARD = 0xa5;
const size_t GUARDS = 64;

[[noreturn]] void fail(const std::string &what) {
    std::fprintf(stderr, "emulated device: %s\n", what.c_str());
    std::abort();
}

// Memory full of NaN, with guards behind it that are looked at when it is freed.
Pointer allocate(size_t size) {
    std::lock_guard<std::mutex> guard(lock);
    auto *memory = static_cast<unsigned char *>(std::malloc(size + GUARDS));
    std::memset(memory, 0xff, size);
    std::memset(memory + size, GUARD, GUARDS);
    allocations[(Pointer)memory] = size;
    return (Pointer)memory;
}

void release(Pointer pointer) {
    std::lock_guard<std::mutex> guard(lock);
    auto found = allocations.find(pointer);
    if (found == allocations.end()) {
        fail("memory is freed that was not allocated");
    }
    for (size_t i = 0; i < GUARDS; i++) {
        if (((unsigned char *)pointer)[found->second + i] != GUARD) {
            fail("something was written behind the end of an allocation");
        }
    }
    allocations.erase(found);
    std::free((void *)pointer);
}

// That a range lies in one allocation.
void check(Pointer pointer, size_t size, const char *what) {
    std::lock_guard<std::mutex> guard(lock);
    auto next = allocations.upper_bound(pointer);
    if (size == 0) {
        return;
    }
    if (next == allocations.begin()) {
        fail(std::string(what) + ": no such memory");
    }
    --next;
    if (pointer + size > next->first + next->second) {
        fail(std::string(what) + ": beyond the end of an allocation");
    }
}

int handle; // whose address stands for contexts, streams, events, modules and handles

} // namespace

#define API extern "C" Result

API cuInit(unsigned) { return 0; }
API cuDriverGetVersion(int *version) { *version = 13000; return 0; }
API cuDeviceGetCount(int *count) { *count = 1; return 0; }
API cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal == 0 ? 0 : 101; }
API cuDeviceGetAttribute(int *value, int attribute, int) {
    *value = attribute == 97 ? 232448 : attribute == 75 ? 9 : 1; // shared memory of a block, compute capability
    return 0;
}
API cuFuncSetAttribute(void *, int, int) { return 0; }
API cuDeviceGetName(char *name, int size, int) { std::snprintf(name, size, "emulated"); return 0; }
API cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = 1ull << 34; return 0; }
API cuMemGetInfo_v2(size_t *unused, size_t *bytes) { *unused = *bytes = 1ull << 34; return 0; }
API cuDevicePrimaryCtxRetain(void **context, int) { *context = &handle; return 0; }
API cuDevicePrimaryCtxRelease_v2(int) { return 0; }
API cuCtxGetCurrent(void **context) { *context = &handle; return 0; }
API cuCtxSetCurrent(void *) { return 0; }
API cuCtxGetDevice(int *device) { *device = 0; return 0; }
API cuCtxSynchronize() { return 0; }
API cuStreamCreate(void **stream, unsigned) { *stream = &handle; return 0; }
API cuStreamDestroy_v2(void *) { return 0; }
API cuStreamSynchronize(void *) { return 0; }
API cuStreamWaitEvent(void *, void *, unsigned) { return 0; }
API cuStreamIsCapturing(void *, int *status) { *status = 0; return 0; }
API cuEventCreate(void **event, unsigned) { *event = &handle; return 0; }
API cuEventDestroy_v2(void *) { return 0; }
API cuEventRecord(void *, void *) { return 0; }
API cuEventQuery(void *) { return 0; }
API cuEventSynchronize(void *) { return 0; }
API cuGetErrorString(Result, const char **text) { *text = "an error of the emulated device"; return 0; }
API cuGetErrorName(Result, const char **text) { *text = "EMULATED"; return 0; }

API cuDeviceGetDefaultMemPool(void **pool, int) { *pool = &handle; return 0; }
API cuMemPoolSetAttribute(void *, int, void *) { return 0; }
API cuMemAlloc_v2(Pointer *pointer, size_t size) { *pointer = allocate(size); return 0; }
API cuMemAllocAsync(Pointer *pointer, size_t size, void *) { *pointer = allocate(size); return 0; }
API cuMemFree_v2(Pointer pointer) { release(pointer); return 0; }
API cuMemFreeAsync(Pointer pointer, void *) { release(pointer); return 0; }
API cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t size, void *) {
    check(to, size, "copy to the device");
    std::memcpy((void *)to, from, size);
    return 0;
}
API cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t size, void *) {
    check(from, size, "copy from the device");
    std::memcpy(to, (void *)from, size);
    return 0;
}
API cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t size, void *) {
    check(to, size, "copy");
    check(from, size, "copy");
    std::memmove((void *)to, (void *)from, size);
    return 0;
}
API cuMemsetD8Async(Pointer to, unsigned char value, size_t size, void *) {
    check(to, size, "memset");
    std::memset((void *)to, value, size);
    return 0;
}

API cuModuleLoadData(void **module, const void *) { *module = &handle; return 0; }
API cuModuleLoad(void **module, const char *) { *module = &handle; return 0; }
API cuModuleUnload(void *) { return 0; }
API cuModuleGetFunction(void **function, void *, const char *name) {
    auto found = emulator::kernels().find(name);
    if (found == emulator::kernels().end()) {
        std::fprintf(stderr, "emulated device: no kernel called %s\n", name);
        return 500; // CUDA_ERROR_NOT_FOUND
    }
    *function = &*found;
    return 0;
}
API cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned, void *, void **arguments, void **) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> guard(one_at_a_time);
    auto *kernel = static_cast<std::map<std::string, emulator::Call>::value_type *>(function);
    kernel->second({gx, gy, gz}, {bx, by, bz}, arguments);
    return 0;
}

// cuBLAS: column by column, `c[m, n] = alpha op(a)[m, k] op(b)[k, n] + beta c`, f32 alone.
API cublasCreate_v2(void **blas) { *blas = &handle; return 0; }
API cublasDestroy_v2(void *) { return 0; }
API cublasSetStream_v2(void *, void *) { return 0; }
API cublasGemmStridedBatchedEx(void *, int operation_a, int operation_b, int m, int n, int k, const float *alpha,
                               const float *a, int type_a, int lda, long long stride_a, const float *b, int type_b,
                               int ldb, long long stride_b, const float *beta, float *c, int type_c, int ldc,
                               long long stride_c, int batch, int, int) {
    if (type_a != 0 || type_b != 0 || type_c != 0) {
        fail("products of other types than f32");
    }
    if (lda < (operation_a ? k : m) || ldb < (operation_b ? n : k) || ldc < m) {
        return 7; // CUBLAS_STATUS_INVALID_VALUE
    }
    auto bytes = [&](long long stride, int ld, int rows, int columns) {
        return sizeof(float) * ((batch - 1) * stride + (long long)(columns - 1) * ld + rows);
    };
    check((Pointer)a, operation_a ? bytes(stride_a, lda, k, m) : bytes(stride_a, lda, m, k), "gemm");
    check((Pointer)b, operation_b ? bytes(stride_b, ldb, n, k) : bytes(stride_b, ldb, k, n), "gemm");
    check((Pointer)c, bytes(stride_c, ldc, m, n), "gemm");
    std::vector<double> column(m);
    for (int index = 0; index < batch; index++, a += stride_a, b += stride_b, c += stride_c) {
        for (int j = 0; j < n; j++) {
            std::fill(column.begin(), column.end(), 0.0);
            for (int p = 0; p < k && !operation_a; p++) {
                float factor = operation_b ? b[(size_t)p * ldb + j] : b[(size_t)j * ldb + p];
                const float *from = a + (size_t)p * lda;
                for (int i = 0; i < m; i++) {
                    column[i] += (double)from[i] * factor;
                }
            }
            for (int i = 0; i < m && operation_a; i++) {
                const float *row = a + (size_t)i * lda;
                for (int p = 0; p < k; p++) {
                    column[i] += (double)row[p] * (operation_b ? b[(size_t)p * ldb + j] : b[(size_t)j * ldb + p]);
                }
            }
            for (int i = 0; i < m; i++) {
                float &to = c[(size_t)j * ldc + i];
                to = *alpha * (float)column[i] + (*beta == 0.0f ? 0.0f : *beta * to);
            }
        }
    }
    return 0;
}

API curandCreateGenerator(void **generator, int) { *generator = &handle; return 0; }
API curandDestroyGenerator(void *) { return 0; }
API curandSetStream(void *, void *) { return 0; }
API curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }

// The runtime, with which candle registers kernels that are not used here.
extern "C" void **__cudaRegisterFatBinary(void *) { static void *none; return &none; }
extern "C" void __cudaRegisterFatBinaryEnd(void **) {}
extern "C" void __cudaUnregisterFatBinary(void **) {}
extern "C" void __cudaRegisterFunction() {}
extern "C" void __cudaRegisterVar() {}

#include "cudnn.h"
