#define FEATURE_WORDS 2u

#if defined(__linux__)
#include <sys/auxv.h>

/* AT_HWCAP and AT_HWCAP2 as the kernel gives them to every program (glibc, musl and Android's bionic alike). */
static void read_features(uint32_t have[FEATURE_WORDS])
{
    have[0] = (uint32_t)getauxval(AT_HWCAP);
    have[1] = (uint32_t)getauxval(AT_HWCAP2);
}
#else
/* Without Linux there is nobody to ask: what this file was compiled for, as the same bits. */
static void read_features(uint32_t have[FEATURE_WORDS])
{
#if defined(__ARM_NEON)
    have[0] |= 1u << 1;
#endif
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
    have[0] |= 1u << 10;
#endif
#if defined(__ARM_FEATURE_DOTPROD)
    have[0] |= 1u << 20;
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
    have[1] |= 1u << 13;
#endif
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    have[1] |= 1u << 14;
#endif
    (void)have;
}
#endif
