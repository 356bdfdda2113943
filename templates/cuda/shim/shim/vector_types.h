/* dim3 and CUDA's short vectors, aligned as on the device.
 *
 * Those of 2 and 4 elements are copied as one vector of the compiler, `all`. Were they plain structures, g++ would split
 * a copy into the elements that are used, and it would be counted as several accesses. */
#pragma once

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define SHIM_COPIED_AS_ONE(name)                \
    name() = default;                           \
    name(const name &other) : all(other.all) {} \
    name &operator=(const name &other)          \
    {                                           \
        all = other.all;                        \
        return *this;                           \
    }

#define SHIM_VECTOR_2(name, element)                                                         \
    struct __attribute__((aligned(2 * sizeof(element)))) name {                              \
        typedef element Vector __attribute__((vector_size(2 * sizeof(element)), may_alias)); \
        union {                                                                              \
            struct {                                                                         \
                element x, y;                                                                \
            };                                                                               \
            Vector all;                                                                      \
        };                                                                                   \
        SHIM_COPIED_AS_ONE(name)                                                             \
        name(element x_, element y_) : all{x_, y_} {}                                        \
    };                                                                                       \
    static inline name make_##name(element x, element y) { return {x, y}; }

#define SHIM_VECTOR_4(name, element)                                                            \
    struct __attribute__((aligned(4 * sizeof(element) < 16 ? 4 * sizeof(element) : 16))) name { \
        typedef element Vector __attribute__((vector_size(4 * sizeof(element)), may_alias));    \
        union {                                                                                 \
            struct {                                                                            \
                element x, y, z, w;                                                             \
            };                                                                                  \
            Vector all;                                                                         \
        };                                                                                      \
        SHIM_COPIED_AS_ONE(name)                                                                \
        name(element x_, element y_, element z_, element w_) : all{x_, y_, z_, w_} {}           \
    };                                                                                          \
    static inline name make_##name(element x, element y, element z, element w) { return {x, y, z, w}; }

#define SHIM_VECTORS(name, element)                                                             \
    struct name##1                                                                              \
    {                                                                                           \
        element x;                                                                              \
    };                                                                                          \
    struct name##3                                                                              \
    {                                                                                           \
        element x, y, z;                                                                        \
    };                                                                                          \
    static inline name##1 make_##name##1(element x) { return {x}; }                             \
    static inline name##3 make_##name##3(element x, element y, element z) { return {x, y, z}; } \
    SHIM_VECTOR_2(name##2, element)                                                             \
    SHIM_VECTOR_4(name##4, element)

SHIM_VECTORS(char, signed char)
SHIM_VECTORS(uchar, unsigned char)
SHIM_VECTORS(short, short)
SHIM_VECTORS(ushort, unsigned short)
SHIM_VECTORS(int, int)
SHIM_VECTORS(uint, unsigned)
SHIM_VECTORS(float, float)
SHIM_VECTOR_2(longlong2, long long)
SHIM_VECTOR_2(ulonglong2, unsigned long long)
SHIM_VECTOR_2(double2, double)

#undef SHIM_VECTORS
#undef SHIM_VECTOR_4
#undef SHIM_VECTOR_2
#undef SHIM_COPIED_AS_ONE
