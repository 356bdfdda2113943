/* The runtime interface of CUDA: memory, launches, streams, events, graphs. */
#include "../shim/runtime_api.h"

#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "block.h"
#include "device.h"
#include "limits.h"

struct CUgraph_st {
    std::vector<std::function<cudaError_t()>> steps;
};

struct CUgraphExec_st {
    std::vector<std::function<cudaError_t()>> steps;
};

struct CUstream_st {
    bool is_capturing = false, is_broken = false; /* is_broken: something was called that a capture does not allow */
    cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
    CUgraph_st recorded;
};

struct CUevent_st {
    std::chrono::steady_clock::time_point time;
    bool is_recorded = false;
};

namespace
{
cudaError_t last_error = cudaSuccess;
cudaError_t fatal_error = cudaSuccess; /* after a kernel was stopped the device does nothing more, as a real one */
std::vector<CUstream_st *> capturing;
std::map<shim::Function, size_t> dynamic_limits;

cudaError_t say(cudaError_t error)
{
    if (error != cudaSuccess) {
        last_error = error;
    }
    return error;
}

/* What a call that a capture does not allow ends with: cudaSuccess if nothing is captured. */
cudaError_t refuse_in_capture(bool allowed_if_relaxed)
{
    cudaError_t error = fatal_error;
    for (CUstream_st *const stream : capturing) {
        if (!allowed_if_relaxed || stream->mode != cudaStreamCaptureModeRelaxed) {
            stream->is_broken = true;
            error = cudaErrorStreamCaptureUnsupported;
        }
    }
    return error;
}

/* Does something now, or when the graph is launched that the stream records. */
cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> step)
{
    if (fatal_error != cudaSuccess) {
        return say(fatal_error);
    }
    if (stream != nullptr && stream->is_capturing) {
        stream->recorded.steps.push_back(std::move(step));
        return cudaSuccess;
    }
    if (stream == nullptr && !capturing.empty()) { /* the legacy stream would wait for all others */
        for (CUstream_st *const one : capturing) {
            one->is_broken = true;
        }
        return say(cudaErrorStreamCaptureImplicit);
    }
    return say(step());
}

bool is_right_side(const void *pointer, size_t bytes, bool on_device)
{
    return on_device ? shim::is_device_memory(pointer, bytes) : !shim::points_to_heap(pointer);
}

bool may_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (bytes == 0) {
        return true;
    }
    if (kind == cudaMemcpyDefault) {
        return is_right_side(to, bytes, shim::points_to_heap(to)) && is_right_side(from, bytes, shim::points_to_heap(from));
    }
    return is_right_side(to, bytes, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
           is_right_side(from, bytes, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice);
}

bool is_configuration(const shim::Launch &launch)
{
    const dim3 &block = launch.block, &grid = launch.grid;
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    return threads > 0 && block.x <= shim::MAX_THREADS && block.y <= shim::MAX_THREADS && block.z <= shim::MAX_BLOCK_Z &&
           threads <= shim::MAX_THREADS && grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= shim::MAX_GRID_X &&
           grid.y <= shim::MAX_GRID_YZ && grid.z <= shim::MAX_GRID_YZ;
}

std::string text_of(const dim3 &size)
{
    return "(" + std::to_string(size.x) + "," + std::to_string(size.y) + "," + std::to_string(size.z) + ")";
}

/* Refuses a launch as the device would, and says why. */
cudaError_t check_launch(const shim::Launch &launch)
{
    const auto kernel = reinterpret_cast<uintptr_t>(launch.kernel);
    if (!is_configuration(launch)) {
        shim::stop_launch(cudaErrorInvalidConfiguration, "kernel '" + shim::kernel_name(kernel) + "': a device does not launch grid " +
                                                             text_of(launch.grid) + " of blocks " + text_of(launch.block));
        return cudaErrorInvalidConfiguration;
    }
    const size_t fixed = shim::static_shared_bytes(kernel);
    const auto limit = dynamic_limits.find(launch.kernel);
    const size_t allowed = limit == dynamic_limits.end() ? shim::DEFAULT_SHARED : std::max(limit->second + fixed, shim::DEFAULT_SHARED);
    if (fixed > shim::DEFAULT_SHARED || fixed + launch.dynamic_bytes > allowed) {
        shim::stop_launch(cudaErrorInvalidValue, "kernel '" + shim::kernel_name(kernel) + "': " + std::to_string(fixed) + " bytes of static and " +
                                                     std::to_string(launch.dynamic_bytes) + " bytes of dynamic shared memory, allowed are " + std::to_string(allowed));
        return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}

cudaError_t execute(const shim::Launch &launch)
{
    const cudaError_t error = shim::run_launch(launch);
    fatal_error = error;
    return error;
}
} // namespace

cudaError_t shim::allocate(void **pointer, size_t bytes)
{
    const cudaError_t refused = refuse_in_capture(true);
    if (refused != cudaSuccess || pointer == nullptr) {
        return say(refused != cudaSuccess ? refused : cudaErrorInvalidValue);
    }
    *pointer = bytes == 0 ? nullptr : device_allocate(bytes);
    return say(*pointer == nullptr && bytes > 0 ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t shim::launch(const Launch &launch, cudaStream_t stream)
{
    const cudaError_t refused = check_launch(launch);
    if (refused != cudaSuccess) {
        return say(refused);
    }
    return enqueue(stream, [launch] { return execute(launch); });
}

cudaError_t shim::set_attribute(Function kernel, cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) {
        return cudaSuccess;
    }
    const size_t fixed = static_shared_bytes(reinterpret_cast<uintptr_t>(kernel));
    if (value < 0 || (size_t)value + fixed > MAX_DYNAMIC_SHARED) {
        return say(cudaErrorInvalidValue);
    }
    dynamic_limits[kernel] = (size_t)value;
    return cudaSuccess;
}

extern "C" {

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "cudaSuccess";
    case cudaErrorInvalidValue:
        return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
        return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidResourceHandle:
        return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalAddress:
        return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
        return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
        return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
        return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureImplicit:
        return "cudaErrorStreamCaptureImplicit";
    }
    return "cudaErrorUnknown";
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorInvalidResourceHandle:
        return "invalid resource handle";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
        return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureImplicit:
        return "operation would make the legacy stream depend on a capturing blocking stream";
    }
    return "unknown error";
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;
    last_error = fatal_error;
    return error;
}

cudaError_t cudaPeekAtLastError(void) { return last_error; }

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return say(device == 0 ? cudaSuccess : cudaErrorInvalidValue); }

cudaError_t cudaDeviceSynchronize(void) { return say(refuse_in_capture(false)); }

cudaError_t cudaFree(void *pointer)
{
    const cudaError_t refused = refuse_in_capture(true);
    if (refused != cudaSuccess) {
        return say(refused);
    }
    return say(pointer == nullptr || shim::device_free(pointer) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    const cudaError_t refused = refuse_in_capture(false);
    return refused != cudaSuccess ? say(refused) : cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (!may_copy(to, from, bytes, kind)) {
        return say(cudaErrorInvalidValue);
    }
    return enqueue(stream, [=] {
        memmove(to, from, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    const cudaError_t refused = refuse_in_capture(false);
    return refused != cudaSuccess ? say(refused) : cudaMemsetAsync(to, value, bytes, nullptr);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    if (bytes > 0 && !shim::is_device_memory(to, bytes)) {
        return say(cudaErrorInvalidValue);
    }
    return enqueue(stream, [=] {
        memset(to, value, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new CUstream_st;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (stream != nullptr && stream->is_capturing) {
        stream->is_broken = true;
        return say(cudaErrorStreamCaptureUnsupported);
    }
    return say(fatal_error);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    std::erase_if(capturing, [stream](const CUstream_st *one) { return one == stream; });
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    *event = new CUevent_st;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return enqueue(stream, [event] {
        event->time = std::chrono::steady_clock::now();
        event->is_recorded = true;
        return cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t) { return say(fatal_error); }

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    if (!start->is_recorded || !end->is_recorded) {
        return say(cudaErrorInvalidResourceHandle);
    }
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    if (stream == nullptr || stream->is_capturing) { /* the legacy stream cannot be captured */
        return say(stream == nullptr ? cudaErrorStreamCaptureUnsupported : cudaErrorInvalidValue);
    }
    stream->is_capturing = true;
    stream->is_broken = false;
    stream->mode = mode;
    stream->recorded.steps.clear();
    capturing.push_back(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = nullptr;
    if (stream == nullptr || !stream->is_capturing) {
        return say(cudaErrorInvalidValue);
    }
    stream->is_capturing = false;
    std::erase_if(capturing, [stream](const CUstream_st *one) { return one == stream; });
    if (stream->is_broken) {
        return say(cudaErrorStreamCaptureInvalidated);
    }
    *graph = new CUgraph_st(std::move(stream->recorded));
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long)
{
    *executable = new CUgraphExec_st{graph->steps};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    return enqueue(stream, [steps = executable->steps] {
        for (const std::function<cudaError_t()> &step : steps) {
            const cudaError_t error = step();
            if (error != cudaSuccess) {
                return error;
            }
        }
        return cudaSuccess;
    });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}
}
