// Runs the kernels of src/cuda/*.cu on the CPU, to test their arithmetic where there is no GPU.
//
// A block's threads are fibers of one thread of the machine; `__syncthreads` and shuffles hand over to the next. A
// barrier that some thread of the block never reaches, and a shuffle that some lane of the warp never reaches, end the
// program with a message. What this cannot show: speed, registers and shared memory, the compiler's own code, memory
// that several threads of the machine write at once.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#define CLEANBENCH_EMULATOR
using std::isfinite;
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static // blocks run one after the other

struct dim3 {
    unsigned x, y, z;
};
struct float2 {
    float x, y;
};
inline float2 make_float2(float x, float y) {
    return {x, y};
}
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

inline unsigned min(unsigned a, unsigned b) {
    return a < b ? a : b;
}
inline int max(int a, int b) {
    return a > b ? a : b;
}
inline int min(int a, int b) {
    return a < b ? a : b;
}

// Fibers: a stack each, and a switch between stacks that keeps what a call must keep.
#if defined(__x86_64__)
extern "C" void emulator_switch(void **save, void *load);
asm(".text\n.globl emulator_switch\n.type emulator_switch,@function\nemulator_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size emulator_switch,.-emulator_switch\n");
#else
#error "the emulator switches stacks by x86-64 instructions"
#endif

namespace emulator {

constexpr size_t STACK = 64 << 10;
constexpr unsigned WARP_SIZE = 32;

enum class State { Ready, AtBlockBarrier, AtWarpBarrier, Done };

struct Fiber {
    std::vector<char> memory = std::vector<char>(STACK);
    void *stack = nullptr;
    State state = State::Done;
    dim3 thread{};
};

inline std::vector<Fiber> fibers;
inline void *scheduler = nullptr;
inline size_t current = 0;
inline std::function<void()> body;
inline bool backwards = false; // threads of a block in the other order: results must not change
inline uint32_t lanes[1024];

[[noreturn]] inline void fail(const char *what) {
    std::fprintf(stderr, "emulator: %s (block %u,%u thread %zu)\n", what, blockIdx.x, blockIdx.y, current);
    std::abort();
}

inline void pause(State state) {
    Fiber &own = fibers[current];
    own.state = state;
    emulator_switch(&own.stack, scheduler);
}

inline void start() {
    body();
    pause(State::Done);
    fail("a finished thread went on");
}

inline void prepare(Fiber &fiber) {
    auto top = reinterpret_cast<uintptr_t>(fiber.memory.data() + STACK) & ~uintptr_t(15);
    auto *slot = reinterpret_cast<void **>(top) - 2; // as after a call: 8 bytes past a multiple of 16
    *slot = reinterpret_cast<void *>(&start);
    slot -= 6;
    std::fill(slot, slot + 6, nullptr);
    fiber.stack = slot;
    fiber.state = State::Ready;
}

inline unsigned width(dim3 size) {
    return size.x * size.y * size.z;
}

// Lets waiting threads go on whose barrier is complete; whether there are any.
inline bool release(size_t threads) {
    bool released = false;
    for (size_t first = 0; first < threads; first += WARP_SIZE) {
        size_t end = std::min(first + WARP_SIZE, threads), waiting = 0;
        for (size_t lane = first; lane < end; lane++) {
            waiting += fibers[lane].state == State::AtWarpBarrier;
        }
        if (waiting == end - first) {
            for (size_t lane = first; lane < end; lane++) {
                fibers[lane].state = State::Ready;
            }
            released = true;
        }
    }
    bool all = true;
    for (size_t thread = 0; thread < threads; thread++) {
        all &= fibers[thread].state == State::AtBlockBarrier || fibers[thread].state == State::Done;
    }
    for (size_t thread = 0; all && thread < threads; thread++) {
        if (fibers[thread].state == State::AtBlockBarrier) {
            fibers[thread].state = State::Ready;
            released = true;
        }
    }
    return released;
}

inline void run_block(size_t threads) {
    for (size_t thread = 0; thread < threads; thread++) {
        unsigned id = thread;
        fibers[thread].thread = {id % blockDim.x, id / blockDim.x % blockDim.y, id / blockDim.x / blockDim.y};
        prepare(fibers[thread]);
    }
    for (;;) {
        size_t done = 0;
        for (size_t turn = 0; turn < threads; turn++) {
            size_t thread = backwards ? threads - 1 - turn : turn;
            if (fibers[thread].state == State::Ready) {
                current = thread;
                threadIdx = fibers[thread].thread;
                emulator_switch(&scheduler, fibers[thread].stack);
            }
            done += fibers[thread].state == State::Done;
        }
        if (done == threads) {
            return;
        }
        if (!release(threads)) {
            fail("threads wait for others that never come");
        }
    }
}

// Runs `thread` for every thread of every block.
inline void launch(dim3 grid, dim3 block, std::function<void()> thread) {
    size_t threads = width(block);
    if (threads == 0 || threads > 1024 || width(grid) == 0 || grid.y > 65535 || grid.z > 65535) {
        fail("no such launch");
    }
    if (fibers.size() < threads) {
        fibers.resize(threads);
    }
    body = std::move(thread);
    gridDim = grid;
    blockDim = block;
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++) {
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++) {
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
                run_block(threads);
            }
        }
    }
}

// Kernels by name, called with pointers to their arguments as the driver does.
using Call = std::function<void(dim3, dim3, void **)>;
inline std::map<std::string, Call> &kernels() {
    static std::map<std::string, Call> all;
    return all;
}

template <typename... A, size_t... I>
void call(void (*kernel)(A...), dim3 grid, dim3 block, void **arguments, std::index_sequence<I...>) {
    launch(grid, block, [=] { kernel(*static_cast<A *>(arguments[I])...); });
}

struct Register {
    template <typename... A> Register(const char *name, void (*kernel)(A...)) {
        kernels()[name] = [kernel](dim3 grid, dim3 block, void **arguments) {
            call(kernel, grid, block, arguments, std::index_sequence_for<A...>{});
        };
    }
};

} // namespace emulator

inline void __syncthreads() {
    emulator::pause(emulator::State::AtBlockBarrier);
    threadIdx = emulator::fibers[emulator::current].thread;
}

inline float __shfl_xor_sync(unsigned mask, float value, int distance) {
    if (mask != 0xffffffffu) {
        emulator::fail("a shuffle of part of a warp");
    }
    size_t own = emulator::current;
    std::memcpy(&emulator::lanes[own], &value, sizeof value);
    emulator::pause(emulator::State::AtWarpBarrier);
    float other;
    std::memcpy(&other, &emulator::lanes[own ^ distance], sizeof other);
    emulator::pause(emulator::State::AtWarpBarrier);
    threadIdx = emulator::fibers[own].thread;
    return other;
}

#define KERNEL(name, ...)                                                                            \
    extern "C" void name(__VA_ARGS__);                                                               \
    static emulator::Register register_##name(#name, &name);                                         \
    extern "C" void name(__VA_ARGS__)
