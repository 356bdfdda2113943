/* Kernels, right and wrong, that tests/unit/test_cuda_shim.py runs by name. Tensors come from stdin, results go to stdout. */
#include <cuda_runtime.h>

#include <cuda_fp16.h>
#include <mma.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" __global__ void __launch_bounds__(256) add(const float *__restrict__ a, const float *__restrict__ b, float *__restrict__ y, int n)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) {
        y[i] = a[i] + b[i];
    }
}

extern "C" __global__ void copy4(const float *a, float *y)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    *(float4 *)(y + 4 * i) = *(const float4 *)(a + 4 * i);
}

extern "C" __global__ void strided(const float *a, float *y, int stride)
{
    y[threadIdx.x] = a[threadIdx.x * stride];
}

template <int PITCH>
__global__ void transpose(const float *a, float *y)
{
    __shared__ alignas(64) float tile[32 * PITCH];
    tile[threadIdx.x + PITCH * threadIdx.y] = a[threadIdx.x + 32 * threadIdx.y];
    __syncthreads();
    y[threadIdx.x + 32 * threadIdx.y] = tile[threadIdx.y + PITCH * threadIdx.x];
}

extern "C" __global__ void misaligned(const float *a, float *y)
{
    *(float4 *)y = *(const float4 *)(a + 1);
}

/* Two arrays side by side: running over the end of one must not look like the other. */
extern "C" __global__ void two_arrays(float *y, int at)
{
    __shared__ alignas(64) float first[64];
    __shared__ alignas(64) float second[64];
    first[threadIdx.x] = second[threadIdx.x] = 1.0f;
    if (threadIdx.x == 0) {
        first[at] = 2.0f;
    }
    __syncthreads();
    y[threadIdx.x] = first[threadIdx.x] + second[threadIdx.x];
}

extern "C" __global__ void reversed(float *y, int with_barrier)
{
    __shared__ float row[64];
    row[threadIdx.x] = (float)threadIdx.x;
    if (with_barrier) {
        __syncthreads();
    }
    y[threadIdx.x] = row[63 - threadIdx.x];
}

/* Every thread has a byte of its own. */
extern "C" __global__ void reversed_bytes(float *y, int with_barrier)
{
    __shared__ signed char row[64];
    row[threadIdx.x] = (signed char)threadIdx.x;
    if (with_barrier) {
        __syncthreads();
    }
    y[threadIdx.x] = (float)row[63 - threadIdx.x];
}

/* A warp waits for itself alone, and reads what its own lanes wrote. */
extern "C" __global__ void reversed_by_warp(float *y, int across)
{
    __shared__ float row[64];
    row[threadIdx.x] = (float)threadIdx.x;
    __syncwarp();
    y[threadIdx.x] = row[threadIdx.x ^ (across ? 32 : 31)];
}

extern "C" __global__ void dynamic(float *y, int count)
{
    extern __shared__ __align__(64) unsigned char anything[];
    float *const row = (float *)anything;
    for (int i = (int)threadIdx.x; i < count; i += (int)blockDim.x) {
        row[i] = (float)i;
    }
    __syncthreads();
    y[threadIdx.x] = row[count - 1 - (int)threadIdx.x];
}

/* An array of vectors, as TVM declares it. */
extern "C" __global__ void vectors(const float *a, float *y)
{
    __shared__ alignas(64) float4 row[32];
    row[threadIdx.x] = *(const float4 *)(a + 4 * threadIdx.x);
    __syncthreads();
    *(float4 *)(y + 4 * threadIdx.x) = row[31 - threadIdx.x];
}

extern "C" __global__ void stale(float *y)
{
    __shared__ float row[32];
    y[threadIdx.x] = row[threadIdx.x];
    row[threadIdx.x] = 1.0f;
}

extern "C" __global__ void divergent(float *y, int how)
{
    if (threadIdx.x < 32) {
        __syncthreads();
    } else if (how == 1) {
        __syncthreads();
    }
    y[threadIdx.x] = 1.0f;
}

/* The blocks of a launch have no order: each reads what another writes. */
extern "C" __global__ void neighbours(float *y)
{
    y[blockIdx.x] = y[(blockIdx.x + 1) % gridDim.x];
}

extern "C" __global__ void warp_sum(const float *a, float *y)
{
    float v = a[threadIdx.x];
    for (int delta = 16; delta > 0; delta /= 2) {
        v += __shfl_down_sync(0xffffffffu, v, delta);
    }
    const float rotated = __shfl_sync(0xffffffffu, a[threadIdx.x], (int)(threadIdx.x + 1) % 32);
    const float swapped = __shfl_xor_sync(0xffffffffu, a[threadIdx.x], 1);
    const float above = __shfl_up_sync(0xffffffffu, a[threadIdx.x], 1, 8);
    y[threadIdx.x] = __shfl_sync(0xffffffffu, v, 0);
    y[threadIdx.x + 64] = rotated;
    y[threadIdx.x + 128] = swapped;
    y[threadIdx.x + 192] = above;
}

extern "C" __global__ void dot4(const int *a, const int *b, int *y)
{
    const int i = (int)threadIdx.x;
    y[4 * i] = __dp4a(a[i], b[i], i);
    y[4 * i + 1] = (int)__dp4a((unsigned)a[i], (unsigned)b[i], (unsigned)i);
    y[4 * i + 2] = __mulhi(a[i], b[i]);
    y[4 * i + 3] = (int)__umulhi((unsigned)a[i], (unsigned)b[i]);
}

extern "C" __global__ void tiles(const half *a, const half *b, float *y, int depth)
{
    using namespace nvcuda;
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::fill_fragment(sum, 0.0f);
    for (int k = 0; k < depth; k += 16) {
        wmma::load_matrix_sync(fa, a + k, depth);
        wmma::load_matrix_sync(fb, b + k, depth);
        wmma::mma_sync(sum, fa, fb, sum);
    }
    for (int i = 0; i < sum.num_elements; ++i) {
        sum.x[i] = fmaxf(sum.x[i], 0.0f);
    }
    wmma::store_matrix_sync(y, sum, 16, wmma::mem_row_major);
}

static float *a, *b, *y;
static const int FLOATS = 4096; /* in each of a, b, y */

static int say(const char *task, cudaError_t error)
{
    if (error != cudaSuccess) {
        printf("%s: %s\n", task, cudaGetErrorName(error));
    }
    return error != cudaSuccess;
}

template <class... P, class... V>
static int launch_with(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, V... values)
{
    void *arguments[] = {(void *)&values...};
    return say("launch", cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream));
}

template <class... P, class... V>
static int launch(void (*kernel)(P...), dim3 grid, dim3 block, V... values)
{
    return launch_with(kernel, grid, block, 0, (cudaStream_t)0, values...);
}

/* The first `bytes` of y. */
static int give_back(size_t bytes)
{
    static float result[FLOATS];
    if (say("copy", cudaMemcpy(result, y, bytes, cudaMemcpyDeviceToHost))) {
        return 1;
    }
    return fwrite(result, 1, bytes, stdout) != bytes;
}

/* Records y = a + b and y = y + b; nothing runs before the graph is launched, twice. */
static int graph(void)
{
    cudaStream_t stream;
    cudaGraph_t recorded;
    cudaGraphExec_t executable;
    cudaStreamCreate(&stream);
    cudaMemset(y, 0, FLOATS * sizeof *y);
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
    launch_with(add, dim3(1), dim3(64), 0, stream, a, b, y, 64);
    launch_with(add, dim3(1), dim3(64), 0, stream, y, b, y, 64);
    if (say("end", cudaStreamEndCapture(stream, &recorded)) || give_back(256)) {
        return 1;
    }
    cudaGraphInstantiate(&executable, recorded, 0);
    cudaGraphDestroy(recorded);
    cudaMemset(b, 0, 4); /* the graph reads what b holds when it is launched */
    for (int repeat = 0; repeat < 2; ++repeat) {
        say("launch", cudaGraphLaunch(executable, stream));
        cudaStreamSynchronize(stream);
    }
    cudaGraphExecDestroy(executable);
    cudaStreamDestroy(stream);
    return give_back(256);
}

/* What a capture does not allow, one after the other; each spoils the capture. */
static int refused(const char *what)
{
    cudaStream_t stream;
    cudaGraph_t recorded;
    float *more;
    cudaStreamCreate(&stream);
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
    if (strcmp(what, "malloc") == 0) {
        say("cudaMalloc", cudaMalloc(&more, 4));
    } else if (strcmp(what, "free") == 0) {
        say("cudaFree", cudaFree(a));
    } else if (strcmp(what, "copy") == 0) {
        say("cudaMemcpy", cudaMemcpy(a, b, 4, cudaMemcpyDeviceToDevice));
    } else if (strcmp(what, "wait") == 0) {
        say("cudaStreamSynchronize", cudaStreamSynchronize(stream));
    } else if (strcmp(what, "legacy") == 0) {
        launch(add, dim3(1), dim3(64), a, b, y, 64);
    } else {
        say("cudaMemcpyAsync", cudaMemcpyAsync(a, b, 4, cudaMemcpyDeviceToDevice, stream));
    }
    say("end", cudaStreamEndCapture(stream, &recorded));
    return 0;
}

static int run(const char *name, int number)
{
    const dim3 one(1), warps(64);
    const struct {
        const char *name;
        void (*kernel)(float *, int);
        int threads;
    } simple[] = {{"two_arrays", two_arrays, 64}, {"reversed", reversed, 64}, {"reversed_bytes", reversed_bytes, 64}, {"reversed_by_warp", reversed_by_warp, 64}, {"divergent", divergent, 64}};
    for (const auto &one_case : simple) {
        if (strcmp(name, one_case.name) == 0) {
            return launch(one_case.kernel, one, dim3(one_case.threads), y, number) || give_back(256);
        }
    }
    if (strcmp(name, "add") == 0) {
        return launch(add, dim3(4), dim3(256), a, b, y, number) || give_back(4 * 1000);
    }
    if (strcmp(name, "copy4") == 0) {
        return launch(copy4, dim3(4), dim3(64), a, y) || give_back(4096);
    }
    if (strcmp(name, "vectors") == 0) {
        return launch(vectors, one, dim3(32), a, y) || give_back(512);
    }
    if (strcmp(name, "strided") == 0) {
        return launch(strided, one, dim3(32), a, y, number);
    }
    if (strcmp(name, "transpose") == 0) {
        return (number == 32 ? launch(transpose<32>, one, dim3(32, 32), a, y) : launch(transpose<33>, one, dim3(32, 32), a, y)) || give_back(4096);
    }
    if (strcmp(name, "misaligned") == 0) {
        return launch(misaligned, one, one, a, y);
    }
    if (strcmp(name, "dynamic") == 0) {
        return launch_with(dynamic, one, warps, (size_t)256, (cudaStream_t)0, y, number) || give_back(256);
    }
    if (strcmp(name, "large") == 0) { /* 60000 bytes, refused at first */
        launch_with(dynamic, one, warps, (size_t)60000, (cudaStream_t)0, y, 15000);
        say("forgotten", cudaGetLastError());
        say("attribute", cudaFuncSetAttribute(dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, number));
        return launch_with(dynamic, one, warps, (size_t)60000, (cudaStream_t)0, y, 15000) || give_back(256);
    }
    if (strcmp(name, "stale") == 0) {
        return launch(stale, dim3(2), dim3(32), y) || give_back(128);
    }
    if (strcmp(name, "neighbours") == 0) {
        return launch(neighbours, dim3(4), one, y);
    }
    if (strcmp(name, "warp_sum") == 0) {
        return launch(warp_sum, one, dim3(64), a, y) || give_back(1024);
    }
    if (strcmp(name, "dot4") == 0) {
        return launch(dot4, one, dim3(number), (const int *)a, (const int *)b, (int *)y) || give_back(16 * (size_t)number);
    }
    if (strcmp(name, "tiles") == 0) {
        return launch(tiles, one, dim3(32), (const half *)a, (const half *)b, y, number) || give_back(1024);
    }
    if (strcmp(name, "threads") == 0) {
        return launch(add, one, dim3(number), a, b, y, 64);
    }
    if (strcmp(name, "grid") == 0) {
        return launch(add, dim3(1, number), dim3(1), a, b, y, 64);
    }
    if (strcmp(name, "freed") == 0) {
        cudaFree(a);
        return launch(add, one, dim3(64), a, b, y, 64);
    }
    if (strcmp(name, "after") == 0) { /* nothing works after an error in a kernel */
        launch(misaligned, one, one, a, y);
        say("next", launch(add, one, dim3(64), a, b, y, 64) ? cudaGetLastError() : cudaSuccess);
        return say("copy", cudaMemcpy(a, b, 4, cudaMemcpyDeviceToDevice));
    }
    if (strcmp(name, "host") == 0) {
        return (int)a[number];
    }
    if (strcmp(name, "graph") == 0) {
        return graph();
    }
    return 2;
}

int main(int argc, char **argv)
{
    static float input[2 * FLOATS];
    if (fread(input, 1, sizeof input, stdin) != sizeof input) {
        return 2;
    }
    if (cudaMalloc(&a, FLOATS * sizeof *a) != cudaSuccess || cudaMalloc(&b, FLOATS * sizeof *b) != cudaSuccess || cudaMalloc(&y, FLOATS * sizeof *y) != cudaSuccess) {
        return 2;
    }
    shim_name_range(a, FLOATS * sizeof *a, "a");
    shim_name_range(b, FLOATS * sizeof *b, "b");
    shim_name_range(y, FLOATS * sizeof *y, "y");
    cudaMemcpy(a, input, sizeof input / 2, cudaMemcpyHostToDevice);
    cudaMemcpy(b, input + FLOATS, sizeof input / 2, cudaMemcpyHostToDevice);
    if (argc > 2 && strcmp(argv[1], "refused") == 0) {
        return refused(argv[2]);
    }
    return run(argv[1], argc > 2 ? atoi(argv[2]) : 0);
}
