/* A network as a program of its own on a CUDA device, or on the CPU under templates/cuda/shim: tensors come from stdin,
 * results go to stdout.
 *
 * It is compiled with network.h, which dscompile/run/cuda.py writes, and says
 *     network_context, network_create(&context), network_destroy(context), network_arena(context), network_weights(context)
 *     network_run(context, inputs, outputs, stream), network_profile(..., hook, user)
 *     INPUT_BYTES, OUTPUT_BYTES         of all tensors, one after the other
 *     ARENA_BYTES, WEIGHTS_BYTES        of device memory
 *     STEPS                             rows of the layer table
 *
 *     program run CALLS                 for each set of inputs: that many calls, then the outputs
 *     program time WARM_UP CALLS        for one set of inputs: nanoseconds of each call by the device's clock, as 64-bit
 *                                       numbers; calls are launches of a graph, if the network can be captured in one
 *     program steps CALLS               for one set of inputs: nanoseconds of each step in each call; 0: not run
 *
 * Exit code 0; 2 for wrong arguments or input; 3 if the network or CUDA returns an error, which stderr then names.
 */
#include <cuda_runtime.h>

#include "network.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static network_context *context;
static unsigned char *inputs, *outputs; /* on the device */
static unsigned char host_inputs[INPUT_BYTES], host_outputs[OUTPUT_BYTES];
static cudaStream_t stream;
static cudaGraphExec_t graph; /* of one call; NULL: none */

static void check(cudaError_t error, const char *task)
{
    if (error != cudaSuccess) {
        fprintf(stderr, "%s: %s\n", task, cudaGetErrorString(error));
        exit(3);
    }
}

static void check_status(int status)
{
    if (status != 0) {
        fprintf(stderr, "the network returned %d: %s\n", status, cudaGetErrorString(cudaGetLastError()));
        exit(3);
    }
}

static void set_up(void)
{
    check_status(network_create(&context));
    check(cudaMalloc(&inputs, INPUT_BYTES), "allocating the inputs");
    check(cudaMalloc(&outputs, OUTPUT_BYTES), "allocating the outputs");
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
#ifdef DSCOMPILE_CUDA_SHIM
    shim_name_range(inputs, INPUT_BYTES, "input");
    shim_name_range(outputs, OUTPUT_BYTES, "output");
    shim_name_range(network_arena(context), ARENA_BYTES, "arena");
    shim_name_range(network_weights(context), WEIGHTS_BYTES, "weights");
#endif
    if (ARENA_BYTES > 0) { /* it need not be cleared: what is read before it was written shows as NaNs */
        check(cudaMemset(network_arena(context), 0xff, ARENA_BYTES), "filling the arena");
    }
}

static void tear_down(void)
{
    network_destroy(context);
    check(cudaFree(inputs), "freeing the inputs");
    check(cudaFree(outputs), "freeing the outputs");
    check(cudaStreamDestroy(stream), "destroying the stream");
}

static int read_inputs(void)
{
    if (fread(host_inputs, 1, INPUT_BYTES, stdin) != INPUT_BYTES) {
        return 0;
    }
    check(cudaMemcpy(inputs, host_inputs, INPUT_BYTES, cudaMemcpyHostToDevice), "copying the inputs");
    check(cudaMemset(outputs, 0xff, OUTPUT_BYTES), "filling the outputs");
    check(cudaDeviceSynchronize(), "copying the inputs"); /* other streams do not wait for a memset */
    return 1;
}

static void call(void)
{
    if (graph != NULL) {
        check(cudaGraphLaunch(graph, stream), "launching the graph");
    } else {
        check_status(network_run(context, inputs, outputs, stream));
    }
}

/* Records one call in `graph`, if the network lets itself be recorded. */
static void capture(void)
{
    cudaGraph_t recorded = NULL;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "beginning to capture");
    const int status = network_run(context, inputs, outputs, stream);
    if (cudaStreamEndCapture(stream, &recorded) == cudaSuccess && status == 0) {
        check(cudaGraphInstantiateWithFlags(&graph, recorded, 0), "making the graph");
    } else {
        cudaGetLastError(); /* forgotten: calls are made one by one */
    }
    if (recorded != NULL) {
        check(cudaGraphDestroy(recorded), "freeing what was captured");
    }
}

static int run(long calls)
{
    while (read_inputs()) {
        for (long index = 0; index < calls; ++index) {
            call();
        }
        check(cudaStreamSynchronize(stream), "running the network");
        check(cudaMemcpy(host_outputs, outputs, OUTPUT_BYTES, cudaMemcpyDeviceToHost), "copying the outputs");
        if (fwrite(host_outputs, 1, OUTPUT_BYTES, stdout) != OUTPUT_BYTES) {
            return 2;
        }
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

static int64_t elapsed_ns(cudaEvent_t start, cudaEvent_t end)
{
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start, end), "reading the clock");
    return (int64_t)(milliseconds * 1e6);
}

static int measure(long warm_up, long calls)
{
    cudaEvent_t start, end;
    if (!read_inputs()) {
        return 2;
    }
    capture();
    check(cudaEventCreate(&start), "creating an event");
    check(cudaEventCreate(&end), "creating an event");
    for (long index = 0; index < warm_up; ++index) {
        call();
    }
    for (long index = 0; index < calls; ++index) {
        check(cudaEventRecord(start, stream), "starting the clock");
        call();
        check(cudaEventRecord(end, stream), "stopping the clock");
        check(cudaEventSynchronize(end), "running the network");
        const int64_t elapsed = elapsed_ns(start, end);
        fwrite(&elapsed, sizeof elapsed, 1, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

static cudaEvent_t begun, ended[STEPS];
static int was_run[STEPS];

static void after_step(void *user, uint32_t step, const void *result)
{
    (void)user;
    (void)result;
    check(cudaEventRecord(ended[step], stream), "reading the clock");
    was_run[step] = 1;
}

static int measure_steps(long calls)
{
    if (!read_inputs()) {
        return 2;
    }
    check(cudaEventCreate(&begun), "creating an event");
    for (int step = 0; step < STEPS; ++step) {
        check(cudaEventCreate(&ended[step]), "creating an event");
    }
    call();
    for (long index = 0; index < calls; ++index) {
        memset(was_run, 0, sizeof was_run);
        check(cudaEventRecord(begun, stream), "reading the clock");
        check_status(network_profile(context, inputs, outputs, stream, after_step, NULL));
        check(cudaStreamSynchronize(stream), "running the network");
        cudaEvent_t resumed = begun;
        for (int step = 0; step < STEPS; ++step) {
            const int64_t elapsed = was_run[step] ? elapsed_ns(resumed, ended[step]) : 0;
            resumed = was_run[step] ? ended[step] : resumed;
            fwrite(&elapsed, sizeof elapsed, 1, stdout);
        }
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
    int status = 2;
    if (argc < 3) {
        return status;
    }
    set_up();
    if (argc == 3 && strcmp(argv[1], "run") == 0) {
        status = run(atol(argv[2]));
    } else if (argc == 4 && strcmp(argv[1], "time") == 0) {
        status = measure(atol(argv[2]), atol(argv[3]));
    } else if (argc == 3 && strcmp(argv[1], "steps") == 0) {
        status = measure_steps(atol(argv[2]));
    }
    tear_down();
    return status;
}
