/* One launch of a CUDA kernel as a program of its own: operands come from stdin, results go to stdout.
 *
 * Appended to the kernel's source, with KERNEL its symbol, GRID and BLOCK what it is launched with. An argument of
 * main() describes an operand: `size,offset,written`. Its array has `size` bytes of device memory of its own, and the
 * kernel gets the address `offset` bytes into it. stdin is all arrays one after the other, stdout those that are
 * written.
 */
#include <cstdio>
#include <cstdlib>

static const int MOST = 24;

static void check(cudaError_t error)
{
    if (error != cudaSuccess) {
        std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
        std::exit(3);
    }
}

int main(int argc, char **argv)
{
    char *device[MOST], *host[MOST];
    void *pointers[MOST], *arguments[MOST];
    std::size_t size[MOST], offset[MOST];
    int written[MOST];
    const int count = argc - 1;
    if (count > MOST)
        return 2;
    for (int index = 0; index < count; ++index) {
        if (std::sscanf(argv[index + 1], "%zu,%zu,%d", &size[index], &offset[index], &written[index]) != 3)
            return 2;
        host[index] = static_cast<char *>(std::malloc(size[index]));
        if (host[index] == nullptr || std::fread(host[index], 1, size[index], stdin) != size[index])
            return 2;
        check(cudaMalloc(reinterpret_cast<void **>(&device[index]), size[index]));
        check(cudaMemcpy(device[index], host[index], size[index], cudaMemcpyHostToDevice));
        pointers[index] = device[index] + offset[index];
        arguments[index] = &pointers[index];
    }
    check(cudaLaunchKernel(KERNEL, dim3 GRID, dim3 BLOCK, arguments, 0, nullptr));
    check(cudaDeviceSynchronize());
    for (int index = 0; index < count; ++index) {
        if (written[index] == 0)
            continue;
        check(cudaMemcpy(host[index], device[index], size[index], cudaMemcpyDeviceToHost));
        if (std::fwrite(host[index], 1, size[index], stdout) != size[index])
            return 2;
    }
    return 0;
}
