/* What a device of compute capability 8.0 refuses to launch (CUDA C++ Programming Guide, "Compute Capabilities"). */
#pragma once
#include <cstddef>

namespace shim
{
constexpr unsigned MAX_BLOCK_Z = 64, MAX_GRID_X = 0x7fffffff, MAX_GRID_YZ = 0xffff;
constexpr size_t DEFAULT_SHARED = 48 * 1024; /* bytes of a block, static and dynamic */
constexpr size_t MAX_DYNAMIC_SHARED = 163 * 1024; /* bytes that cudaFuncSetAttribute may allow */
} // namespace shim
