#define FEATURE_WORDS 5u

static void cpuid(uint32_t leaf, uint32_t part, uint32_t result[4])
{
    __asm__ __volatile__("cpuid"
                         : "=a"(result[0]), "=b"(result[1]), "=c"(result[2]), "=d"(result[3])
                         : "a"(leaf), "c"(part));
}

/* CPUID leaf 1 ECX, leaf 7 EBX and ECX, XCR0 (which registers the operating system saves), and leaf 7.1 EAX. */
static void read_features(uint32_t have[FEATURE_WORDS])
{
    uint32_t result[4];
    cpuid(0u, 0u, result);
    if (result[0] >= 7u) {
        cpuid(7u, 0u, result);
        have[1] = result[1];
        have[2] = result[2];
        if (result[0] >= 1u) {
            cpuid(7u, 1u, result);
            have[4] = result[0];
        }
    }
    cpuid(1u, 0u, result);
    have[0] = result[2];
    if ((result[2] & (1u << 27)) != 0u) { /* OSXSAVE: XGETBV is allowed */
        __asm__ __volatile__("xgetbv"
                             : "=a"(have[3]), "=d"(result[3])
                             : "c"(0u));
    }
}
