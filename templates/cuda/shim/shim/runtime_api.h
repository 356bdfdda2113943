/* The part of CUDA's runtime interface that artifacts and their programs use. Calls that would be asynchronous have
 * finished when they return. */
#pragma once
#include <cstddef>
#include <memory>
#include <tuple>
#include <utility>

#include "vector_types.h"

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureImplicit = 906
} cudaError_t;

typedef enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
} cudaMemcpyKind;

typedef enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
} cudaFuncAttribute;

typedef enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
} cudaStreamCaptureMode;

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
static constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1;

extern "C" {
const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceSynchronize(void);

cudaError_t cudaFree(void *pointer);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream = 0);
cudaError_t cudaMemset(void *to, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream = 0);

cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);

cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = 0);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);
cudaError_t cudaEventDestroy(cudaEvent_t event);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
}

namespace shim
{
typedef void (*Function)();

/* A kernel with its arguments copied, as the device copies them when it is launched. */
struct Launch {
    Function kernel;
    void (*invoke)(Function kernel, const void *arguments); /* one thread of it */
    std::shared_ptr<const void> arguments;
    dim3 grid, block;
    size_t dynamic_bytes; /* of shared memory */
};

cudaError_t allocate(void **pointer, size_t bytes);
cudaError_t launch(const Launch &launch, cudaStream_t stream);
cudaError_t set_attribute(Function kernel, cudaFuncAttribute attribute, int value);

template <class... P, size_t... I>
Launch bind(void (*kernel)(P...), void **arguments, std::index_sequence<I...>)
{
    typedef std::tuple<std::decay_t<P>...> Values;
    Launch result = {};
    result.kernel = reinterpret_cast<Function>(kernel);
    result.arguments = std::make_shared<const Values>(*static_cast<std::decay_t<P> *>(arguments[I])...);
    result.invoke = [](Function function, const void *values) {
        std::apply(reinterpret_cast<void (*)(P...)>(function), *static_cast<const Values *>(values));
    };
    return result;
}
} // namespace shim

template <class T>
cudaError_t cudaMalloc(T **pointer, size_t bytes)
{
    void *memory = nullptr;
    const cudaError_t error = shim::allocate(pointer == nullptr ? nullptr : &memory, bytes);
    if (error == cudaSuccess) {
        *pointer = static_cast<T *>(memory);
    }
    return error;
}

template <class... P>
cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void **arguments, size_t shared_bytes = 0, cudaStream_t stream = 0)
{
    shim::Launch launch = shim::bind(kernel, arguments, std::index_sequence_for<P...>());
    launch.grid = grid;
    launch.block = block;
    launch.dynamic_bytes = shared_bytes;
    return shim::launch(launch, stream);
}

/* Of a kernel; all are 0 here. */
typedef struct cudaFuncAttributes {
    size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
    int maxThreadsPerBlock, numRegs;
} cudaFuncAttributes;

template <class... P>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, void (*)(P...))
{
    *attributes = cudaFuncAttributes();
    return cudaSuccess;
}

template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value)
{
    return shim::set_attribute(reinterpret_cast<shim::Function>(kernel), attribute, value);
}

inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags = 0)
{
    return cudaGraphInstantiateWithFlags(executable, graph, flags);
}
