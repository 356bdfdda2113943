/* Stands in for CUDA's header of this name, so that g++ compiles a .cu for the CPU: docs/cuda-shim.md. */
#pragma once
#define DSCOMPILE_CUDA_SHIM 1

#include "shim/qualifiers.h"
#include "shim/vector_types.h"
#include "shim/threads.h"
#include "shim/arithmetic.h"
#include "shim/runtime_api.h"
#include "shim/report_api.h"
