#include "symbols.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <elf.h>
#include <fstream>
#include <iterator>
#include <link.h>
#include <unistd.h>

/* Kernels are compiled into a section of this name; the linker says where it begins and ends. Those that are templates
 * are not, since g++ gives each a section of its own; weak functions count as kernels. */
extern "C" {
extern const char __start_shim_kernels[] __attribute__((weak));
extern const char __stop_shim_kernels[] __attribute__((weak));
}

namespace
{
struct Kernel {
    std::string symbol;
    uintptr_t address;
};

struct Table {
    std::vector<Kernel> kernels;
    std::vector<shim::SharedArray> arrays, guards; /* by their symbols */
    shim::SharedSegment segment;
};

bool is_in_kernels(uintptr_t address)
{
    return address >= reinterpret_cast<uintptr_t>(__start_shim_kernels) && address < reinterpret_cast<uintptr_t>(__stop_shim_kernels);
}

int find_segment(dl_phdr_info *info, size_t, void *result)
{
    auto &segment = *static_cast<shim::SharedSegment *>(result);
    for (int index = 0; index < info->dlpi_phnum; ++index) {
        if (info->dlpi_phdr[index].p_type == PT_TLS) {
            segment.begin = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
            segment.size = info->dlpi_phdr[index].p_memsz;
        }
    }
    return 1; /* the program itself comes first; libraries do not matter */
}

Table read_table()
{
    Table table;
    dl_iterate_phdr(find_segment, &table.segment);
    std::ifstream file("/proc/self/exe", std::ios::binary);
    const std::string image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (image.size() < sizeof(Elf64_Ehdr)) {
        return table;
    }
    const auto *const header = reinterpret_cast<const Elf64_Ehdr *>(image.data());
    const auto *const sections = reinterpret_cast<const Elf64_Shdr *>(image.data() + header->e_shoff);
    for (int index = 0; index < header->e_shnum; ++index) {
        if (sections[index].sh_type != SHT_SYMTAB) {
            continue;
        }
        const char *const names = image.data() + sections[sections[index].sh_link].sh_offset;
        const auto *const symbols = reinterpret_cast<const Elf64_Sym *>(image.data() + sections[index].sh_offset);
        for (size_t at = 0; at < sections[index].sh_size / sizeof(Elf64_Sym); ++at) {
            const Elf64_Sym &symbol = symbols[at];
            const char *const name = names + symbol.st_name;
            const auto address = static_cast<uintptr_t>(symbol.st_value);
            const int type = ELF64_ST_TYPE(symbol.st_info);
            if (type == STT_TLS && symbol.st_shndx != SHN_UNDEF && strncmp(name, "shim_", 5) != 0) {
                const bool is_guard = strncmp(name, "_ZGV", 4) == 0;
                (is_guard ? table.guards : table.arrays).push_back({name, (uint32_t)symbol.st_value, (uint32_t)symbol.st_size});
            } else if (type == STT_FUNC && (is_in_kernels(address) || ELF64_ST_BIND(symbol.st_info) == STB_WEAK)) {
                table.kernels.push_back({name, address});
            }
        }
    }
    return table;
}

const Table &table()
{
    static const Table result = read_table();
    return result;
}

std::string demangled(const std::string &symbol)
{
    int status = 0;
    char *const text = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
    const std::string result = status == 0 && text != nullptr ? text : symbol;
    std::free(text);
    return result;
}

/* What the symbols of a function's own arrays begin with. */
std::string prefix_of_arrays(const std::string &function)
{
    return function.compare(0, 2, "_Z") == 0 ? "_ZZ" + function.substr(2) + "E"
                                             : "_ZZ" + std::to_string(function.size()) + function + "E";
}
} // namespace

const shim::SharedSegment &shim::shared_segment()
{
    return table().segment;
}

const std::vector<shim::SharedArray> &shim::shared_guards()
{
    return table().guards;
}

std::string shim::kernel_name(uintptr_t address)
{
    for (const Kernel &kernel : table().kernels) {
        if (kernel.address == address) {
            const std::string name = demangled(kernel.symbol);
            const size_t type = name.compare(0, 5, "void ") == 0 ? 5 : 0; /* templates have their result in their names */
            return name.substr(type, name.find('(') - type);
        }
    }
    char text[32];
    snprintf(text, sizeof text, "kernel at 0x%zx", (size_t)address);
    return text;
}

std::vector<shim::SharedArray> shim::shared_arrays(uintptr_t address)
{
    std::vector<SharedArray> result;
    for (const SharedArray &array : table().arrays) {
        bool is_usable = true;
        for (const Kernel &kernel : table().kernels) {
            const std::string prefix = prefix_of_arrays(kernel.symbol);
            if (array.name.compare(0, prefix.size(), prefix) == 0) {
                is_usable = kernel.address == address;
                break;
            }
        }
        if (is_usable) {
            std::string name = demangled(array.name);
            const size_t scope = name.rfind("::");
            result.push_back({scope == std::string::npos ? name : name.substr(scope + 2), array.offset, array.size});
        }
    }
    return result;
}

std::string shim::source_line(uintptr_t pc)
{
    if (pc == 0) {
        return "";
    }
    char command[96], line[512];
    snprintf(command, sizeof command, "addr2line -e /proc/%d/exe 0x%zx 2>/dev/null", (int)getpid(), (size_t)(pc - 1));
    FILE *const pipe = popen(command, "r");
    if (pipe == nullptr) {
        return "";
    }
    const bool is_read = fgets(line, sizeof line, pipe) != nullptr;
    pclose(pipe);
    std::string text = is_read ? line : "";
    text = text.substr(0, text.find_first_of(" \n"));
    const size_t directory = text.rfind('/');
    text = directory == std::string::npos ? text : text.substr(directory + 1);
    return text.empty() || text[0] == '?' ? "" : text;
}
