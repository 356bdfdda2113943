/* Stands in for CUDA's header of this name: half is a type of the compiler, rounded after every operation. */
#pragma once
#include "cuda_runtime.h"

#if defined(__aarch64__)
typedef __fp16 __half;
#else
typedef _Float16 __half;
#endif
typedef __half half;

/* Copied as one, like the vectors of shim/vector_types.h. */
struct __attribute__((aligned(4))) __half2 {
    typedef unsigned Both __attribute__((may_alias));
    union {
        struct {
            __half x, y;
        };
        Both all;
    };
    __half2() = default;
    __half2(const __half2 &other) : all(other.all) {}
    __half2 &operator=(const __half2 &other)
    {
        all = other.all;
        return *this;
    }
    __half2(__half x_, __half y_)
        : all(shim::same_bits<unsigned short>(x_) | (unsigned)shim::same_bits<unsigned short>(y_) << 16) {}
};
typedef __half2 half2;

static inline half2 make_half2(half x, half y) { return {x, y}; }
static inline half2 __halves2half2(half x, half y) { return {x, y}; }
static inline half __float2half(float x) { return (half)x; }
static inline half __float2half_rn(float x) { return (half)x; }
static inline float __half2float(half x) { return (float)x; }
static inline half2 __float2half2_rn(float x) { return {(half)x, (half)x}; }
static inline half2 __floats2half2_rn(float x, float y) { return {(half)x, (half)y}; }
static inline float2 __half22float2(half2 x) { return {(float)x.x, (float)x.y}; }
static inline half __low2half(half2 x) { return x.x; }
static inline half __high2half(half2 x) { return x.y; }
static inline half __ushort_as_half(unsigned short x) { return shim::same_bits<half>(x); }
static inline unsigned short __half_as_ushort(half x) { return shim::same_bits<unsigned short>(x); }

static inline half __hadd(half a, half b) { return a + b; }
static inline half __hsub(half a, half b) { return a - b; }
static inline half __hmul(half a, half b) { return a * b; }
static inline half __hdiv(half a, half b) { return a / b; }
/* The product of two halves is exact in float and the sum in double, so this rounds once. */
static inline half __hfma(half a, half b, half c) { return (half)((double)((float)a * (float)b) + (double)(float)c); }
static inline bool __hgt(half a, half b) { return a > b; }
static inline bool __hge(half a, half b) { return a >= b; }
static inline bool __hlt(half a, half b) { return a < b; }
static inline bool __hle(half a, half b) { return a <= b; }
static inline bool __heq(half a, half b) { return a == b; }
static inline half __hmax(half a, half b) { return a > b || b != b ? a : b; }
static inline half __hmin(half a, half b) { return a < b || b != b ? a : b; }
static inline half2 __hadd2(half2 a, half2 b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }
static inline half2 __hmul2(half2 a, half2 b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }
static inline half2 __hfma2(half2 a, half2 b, half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
static inline half2 __hmax2(half2 a, half2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
static inline half2 __hmin2(half2 a, half2 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }
