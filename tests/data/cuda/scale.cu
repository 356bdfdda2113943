#include "scale.h"

#include <cuda_runtime.h>
#include <stdlib.h>

extern "C" const unsigned char scale_weights_begin[];

struct scale_context {
    float *weights, *arena;
};

extern "C" __global__ void __launch_bounds__(128) multiply(float *__restrict__ product, const float *__restrict__ x, const float *__restrict__ w)
{
    const int i = (int)blockIdx.x * 128 + (int)threadIdx.x;
    if (i < 1000) {
        product[i] = w[i] * x[i];
    }
}

extern "C" __global__ void __launch_bounds__(125) twice(float *__restrict__ y, const float *__restrict__ x)
{
    const int i = 4 * ((int)blockIdx.x * 125 + (int)threadIdx.x);
    const float4 v = *(const float4 *)(x + i);
    *(float4 *)(y + i) = make_float4(2 * v.x, 2 * v.y, 2 * v.z, 2 * v.w);
}

extern "C" scale_status scale_create(scale_context **context)
{
    scale_context *const made = (scale_context *)malloc(sizeof *made);
    if (made == NULL || cudaMalloc(&made->weights, SCALE_WEIGHTS_SIZE) != cudaSuccess || cudaMalloc(&made->arena, SCALE_ARENA_SIZE) != cudaSuccess ||
        cudaMemcpy(made->weights, scale_weights_begin, SCALE_WEIGHTS_SIZE, cudaMemcpyHostToDevice) != cudaSuccess) {
        return SCALE_ERROR_DEVICE;
    }
    *context = made;
    return SCALE_OK;
}

extern "C" scale_status scale_run_profiled(scale_context *context, const float *input, float *output, struct CUstream_st *stream, scale_hook hook, void *user)
{
    void *first[] = {&context->arena, &input, &context->weights};
    if (cudaLaunchKernel(multiply, dim3(8), dim3(128), first, 0, stream) != cudaSuccess) {
        return SCALE_ERROR_DEVICE;
    }
    if (hook != NULL) {
        hook(user, 0, context->arena);
    }
    void *second[] = {&output, &context->arena};
    if (cudaLaunchKernel(twice, dim3(2), dim3(125), second, 0, stream) != cudaSuccess) {
        return SCALE_ERROR_DEVICE;
    }
    if (hook != NULL) {
        hook(user, 1, output);
    }
    return SCALE_OK;
}

extern "C" scale_status scale_run(scale_context *context, const float *input, float *output, struct CUstream_st *stream)
{
    return scale_run_profiled(context, input, output, stream, NULL, NULL);
}

extern "C" void scale_destroy(scale_context *context)
{
    cudaFree(context->weights);
    cudaFree(context->arena);
    free(context);
}

extern "C" void *scale_arena(scale_context *context)
{
    return context->arena;
}

extern "C" const void *scale_weights(scale_context *context)
{
    return context->weights;
}
