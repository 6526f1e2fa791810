// Rows of a table by index. The gradient sorts the indices, so that each row of the table has one sum in one order
// and no atomic additions, whose order would change from run to run.

// An index outside the table gives NaN, as an error cannot be raised here without waiting for the device.
KERNEL(embedding_forward, const T *table, const unsigned *ids, T *y, int width, int rows, int count) {
    FOR_EACH(i, count) {
        unsigned id = ids[i / (unsigned)width];
        y[i] = id < (unsigned)rows ? (float)table[(size_t)id * width + i % (unsigned)width] : NAN;
    }
}

// Index and position in one number that sorts by both; the largest number fills up to a power of two.
KERNEL(embedding_keys, const unsigned *ids, unsigned long long *keys, int count, int padded) {
    FOR_EACH(i, padded) {
        keys[i] = i < (unsigned)count ? ((unsigned long long)ids[i] << 32 | i) : ~0ull;
    }
}

__device__ inline void bitonic_step(unsigned long long *keys, unsigned a, unsigned distance, bool ascending) {
    unsigned long long low = keys[a], high = keys[a + distance];
    if ((low > high) == ascending) {
        keys[a] = high;
        keys[a + distance] = low;
    }
}

// One step of a bitonic sort over all keys: pairs `distance` apart in runs of `length`.
KERNEL(sort_step, unsigned long long *keys, int length, int distance, int pairs) {
    FOR_EACH(i, pairs) {
        unsigned a = i / (unsigned)distance * 2 * distance + i % (unsigned)distance;
        bitonic_step(keys, a, distance, (a & length) == 0);
    }
}

#define SORT_BLOCK 1024
// All steps within blocks of SORT_BLOCK keys (or `padded`, where fewer), for runs from `first` to `last` in length;
// a block has half as many threads.
KERNEL(sort_block, unsigned long long *keys, int first, int last) {
    __shared__ unsigned long long own[SORT_BLOCK];
    unsigned size = 2 * blockDim.x, start = blockIdx.x * size;
    own[threadIdx.x] = keys[start + threadIdx.x];
    own[threadIdx.x + blockDim.x] = keys[start + threadIdx.x + blockDim.x];
    __syncthreads();
    for (unsigned length = first; length <= (unsigned)last; length *= 2) {
        for (unsigned distance = min(length, size) / 2; distance > 0; distance /= 2) {
            unsigned a = threadIdx.x / distance * 2 * distance + threadIdx.x % distance;
            bitonic_step(own, a, distance, ((start + a) & length) == 0);
            __syncthreads();
        }
    }
    keys[start + threadIdx.x] = own[threadIdx.x];
    keys[start + threadIdx.x + blockDim.x] = own[threadIdx.x + blockDim.x];
}

// The gradient of the table, which is 0 before: a block (blockIdx.x) that holds the first of its index's positions
// sums the rows of all of them, 32 columns (blockIdx.y).
KERNEL(embedding_backward, const T *dy, const unsigned long long *keys, T *gradient, int count, int width,
       int rows) {
    unsigned first = blockIdx.x, id = (unsigned)(keys[first] >> 32);
    if (first > 0 && (unsigned)(keys[first - 1] >> 32) == id) {
        return; // the whole block
    }
    unsigned column = blockIdx.y * TILE_COLUMNS + threadIdx.x;
    float sum = 0.0f;
    for (unsigned at = first + threadIdx.y; at < (unsigned)count; at += TILE_ROWS) {
        unsigned long long key = keys[at];
        if ((unsigned)(key >> 32) != id) {
            break;
        }
        if (column < (unsigned)width) {
            sum += (float)dy[(size_t)(unsigned)key * width + column];
        }
    }
    sum = tile_sum(sum);
    if (threadIdx.y == 0 && column < (unsigned)width && id < (unsigned)rows) {
        gradient[(size_t)id * width + column] = sum;
    }
}
