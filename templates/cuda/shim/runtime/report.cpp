/* What was counted, as JSON. */
#include "../shim/report_api.h"

#include <cinttypes>
#include <cstdlib>

#include "block.h"
#include "device.h"
#include "traffic.h"

namespace
{
std::string quoted(const std::string &text)
{
    std::string result = "\"";
    for (const char letter : text) {
        if (letter == '"' || letter == '\\') {
            result += '\\';
        }
        result += (unsigned char)letter < ' ' ? ' ' : letter;
    }
    return result + '"';
}

void print_tally(FILE *file, const char *side, const shim::Tally &tally)
{
    fprintf(file, "\"%s_accesses\": %" PRIu64 ", \"%s_bytes\": %" PRIu64 ", \"%s_block_bytes\": %" PRIu64, side, tally.accesses, side,
            tally.bytes, side, tally.block_sectors * shim::SECTOR);
}

void print_classes(FILE *file, const std::map<std::string, shim::ClassTally> &classes)
{
    const char *separator = "";
    for (const auto &[name, tally] : classes) {
        if (tally.loads.accesses + tally.stores.accesses == 0) {
            continue;
        }
        fprintf(file, "%s\n      %s: {", separator, quoted(name).c_str());
        print_tally(file, "load", tally.loads);
        fprintf(file, ", ");
        print_tally(file, "store", tally.stores);
        fprintf(file, ", \"footprint_bytes\": %" PRIu64 "}", tally.footprint_sectors * shim::SECTOR);
        separator = ",";
    }
}

void print_kernel(FILE *file, const std::string &name, const shim::KernelTally &tally)
{
    const shim::Sampled &sampled = tally.sampled;
    fprintf(file, "    {\"name\": %s,\n", quoted(name).c_str());
    fprintf(file, "     \"launches\": %" PRIu64 ", \"blocks\": %" PRIu64 ", \"threads\": %" PRIu64 ", \"barriers\": %" PRIu64 ", \"shared_bytes\": %" PRIu64 ",\n",
            tally.launches, tally.blocks, tally.threads, tally.barriers, tally.shared_bytes);
    fprintf(file, "     \"classes\": {");
    print_classes(file, tally.classes);
    fprintf(file, "},\n     \"sampled\": {\"blocks\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"sectors\": %" PRIu64 ", \"ideal_sectors\": %" PRIu64,
            sampled.blocks, sampled.requests, sampled.sectors, sampled.ideal_sectors);
    fprintf(file, ", \"distinct_bytes\": %" PRIu64 ", \"uncoalesced_requests\": %" PRIu64, sampled.distinct_bytes, sampled.uncoalesced);
    fprintf(file, ",\n       \"shared_requests\": %" PRIu64 ", \"shared_wavefronts\": %" PRIu64 ", \"shared_ideal_wavefronts\": %" PRIu64 "}}",
            sampled.shared_requests, sampled.shared_wavefronts, sampled.shared_ideal_wavefronts);
}

/* When the program ends: looks at the red zones, writes the report where the environment says. */
struct AtExit {
    AtExit()
    {
        shim::messages(); /* made first, so they are there when this ends */
        shim::tallies();
        shim::regions();
    }
    ~AtExit()
    {
        const std::string damage = shim::damaged_red_zone();
        if (!damage.empty()) {
            shim::stop_launch(cudaErrorIllegalAddress, damage);
        }
        const char *const path = getenv("DSCOMPILE_CUDA_REPORT");
        FILE *const file = path == nullptr ? nullptr : fopen(path, "w");
        if (file != nullptr) {
            shim_report(file);
            fclose(file);
        }
    }
} at_exit;
} // namespace

extern "C" void shim_report(FILE *file)
{
    fprintf(file, "{\"checked\": %s,\n  \"kernels\": [", shim::is_checked() ? "true" : "false");
    const char *separator = "\n";
    for (const auto &[name, tally] : shim::tallies()) {
        fprintf(file, "%s", separator);
        print_kernel(file, name, tally);
        separator = ",\n";
    }
    fprintf(file, "],\n  \"errors\": [");
    separator = "";
    for (const std::string &message : shim::messages()) {
        fprintf(file, "%s\n    %s", separator, quoted(message).c_str());
        separator = ",";
    }
    fprintf(file, "]}\n");
}
