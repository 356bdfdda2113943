/* Functions that CUDA has built in. */
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

using std::max;
using std::min;

/* CUDA has min and max for every pair of types that C would convert to one another. */
template <class A, class B, class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B> && !std::is_same_v<A, B>>>
inline std::common_type_t<A, B> max(A a, B b)
{
    using T = std::common_type_t<A, B>;
    return (T)a > (T)b ? (T)a : (T)b;
}
template <class A, class B, class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B> && !std::is_same_v<A, B>>>
inline std::common_type_t<A, B> min(A a, B b)
{
    using T = std::common_type_t<A, B>;
    return (T)a < (T)b ? (T)a : (T)b;
}

namespace shim
{
template <class To, class From>
inline To same_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "bits are copied, not converted");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

/* Nearest, ties to even; saturating, and NaN to 0, as cvt.rni.s32.f32 does. */
inline int rounded(float x)
{
    const float whole = nearbyintf(x);
    if (whole != whole) {
        return 0;
    }
    return whole >= 2147483648.0f ? INT32_MAX : whole <= -2147483648.0f ? INT32_MIN
                                                                        : (int)whole;
}

/* c + the sum of the products of four bytes, modulo 2^32. */
template <class A, class B>
inline uint32_t dot_of_4_bytes(uint32_t a, uint32_t b, uint32_t c)
{
    for (int shift = 0; shift < 32; shift += 8) {
        c += (uint32_t)((int)(A)(a >> shift) * (int)(B)(b >> shift));
    }
    return c;
}
} // namespace shim

static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b)
{
    volatile float product = a * b; /* never joined with an addition */
    return product;
}
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
#define __expf expf /* glibc has a function of this name of its own */
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline int __float2int_rn(float x) { return shim::rounded(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __int_as_float(int x) { return shim::same_bits<float>(x); }
static inline int __float_as_int(float x) { return shim::same_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return shim::same_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return shim::same_bits<unsigned>(x); }
static inline int __mulhi(int a, int b) { return (int)(((int64_t)a * b) >> 32); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
static inline long long __mul64hi(long long a, long long b) { return (long long)(((__int128)a * b) >> 64); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}

static inline int __dp4a(int a, int b, int c)
{
    return (int)shim::dot_of_4_bytes<int8_t, int8_t>((uint32_t)a, (uint32_t)b, (uint32_t)c);
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c)
{
    return shim::dot_of_4_bytes<uint8_t, uint8_t>(a, b, c);
}
static inline int __dp4a(unsigned a, int b, int c)
{
    return (int)shim::dot_of_4_bytes<uint8_t, int8_t>(a, (uint32_t)b, (uint32_t)c);
}
static inline int __dp4a(int a, unsigned b, int c)
{
    return (int)shim::dot_of_4_bytes<int8_t, uint8_t>((uint32_t)a, b, (uint32_t)c);
}

template <class T>
inline T __ldg(const T *address)
{
    return *address;
}
