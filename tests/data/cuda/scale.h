/* A network by hand: y[i] = 2 * (w[i] * x[i]), in two kernels over an arena. */
#ifndef SCALE_H
#define SCALE_H
#include <stdint.h>

#define SCALE_LAYER_COUNT 2u
#define SCALE_INPUT_SIZE 1000u
#define SCALE_OUTPUT_SIZE 1000u
#define SCALE_ARENA_SIZE 4000u
#define SCALE_WEIGHTS_SIZE 4000u

#ifdef __cplusplus
extern "C" {
#endif
struct CUstream_st;
typedef enum { SCALE_OK,
               SCALE_ERROR_NULL,
               SCALE_ERROR_DEVICE } scale_status;
typedef struct scale_context scale_context;
typedef void (*scale_hook)(void *user, uint32_t layer, const void *result);

scale_status scale_create(scale_context **context);
scale_status scale_run(scale_context *context, const float *input, float *output, struct CUstream_st *stream);
scale_status scale_run_profiled(scale_context *context, const float *input, float *output, struct CUstream_st *stream, scale_hook hook, void *user);
void scale_destroy(scale_context *context);
void *scale_arena(scale_context *context);
const void *scale_weights(scale_context *context);
#ifdef __cplusplus
}
#endif
#endif
