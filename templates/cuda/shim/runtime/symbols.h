/* What the program's own symbol table says: which functions are kernels, and which arrays are shared memory. */
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace shim
{
/* An array in shared memory; `offset` from the start of the segment for all of them, in bytes. */
struct SharedArray {
    std::string name;
    uint32_t offset, size;
};

/* The memory in which all shared arrays of all kernels lie. */
struct SharedSegment {
    uintptr_t begin = 0;
    size_t size = 0;
};
const SharedSegment &shared_segment();

/* The name of a kernel as its source has it. */
std::string kernel_name(uintptr_t kernel);
/* The static shared arrays that a kernel may use: its own, and those of no kernel (of functions that it
 * calls, if these are no templates). */
std::vector<SharedArray> shared_arrays(uintptr_t kernel);
/* What g++ puts beside arrays of vectors to see whether these were constructed, which does nothing here. */
const std::vector<SharedArray> &shared_guards();
/* "net.cu:12" for an address in code, if addr2line is installed and lines are known; otherwise "". */
std::string source_line(uintptr_t pc);
} // namespace shim
