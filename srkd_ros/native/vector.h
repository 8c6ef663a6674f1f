// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// Vectors of floats by the compilers' own extension (GCC, Clang): one source for AVX-512, AVX2, NEON.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif

template <int W>
struct VectorOf {
    typedef float Floats __attribute__((vector_size(W * 4)));
    typedef int32_t Ints __attribute__((vector_size(W * 4)));
};

template <int W>
inline typename VectorOf<W>::Floats load(const float *from) {  // any alignment
    typename VectorOf<W>::Floats value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <int W>
inline void store(float *to, typename VectorOf<W>::Floats value) {
    std::memcpy(to, &value, sizeof value);
}

// The same bits as another type.
template <class To, class From>
inline To as(const From &from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class V>
inline V float_in_all_lanes(float x) {
    // Not x + 0: a float may hold other bits than a number's.
    return as<V>(typename VectorOf<sizeof(V) / 4>::Ints{} + as<int32_t>(x));
}

using Floats = VectorOf<WIDTH>::Floats;
using Ints = VectorOf<WIDTH>::Ints;

// The larger one of each lane; b where one of them is not a number.
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// 2 to the power of x for x <= 0, to 1.1e-7, or, where half precision follows, to 1e-4; below -126 it is the smallest
// normal number. Not-a-number stays.
template <bool ROUGH = false>
inline Floats power_of_two(Floats x) {
    const Floats round = Floats{} + 12582912.0f;  // 1.5 * 2^23: added, it leaves whole numbers in the last bits
    x = x < -126.0f ? Floats{} - 126.0f : x;
    const Floats shifted = x + round;
    const Floats f = x - (shifted - round);  // [-0.5, 0.5]
    Floats p;  // by Chebyshev interpolation
    if constexpr (ROUGH) {
        p = f * 0.0558382832f + 0.242639482f;
        p = p * f + 0.693136752f;
        p = p * f + 0.999924541f;
    } else {
        p = f * 0.000154614449f + 0.0013400428f;
        p = p * f + 0.00961805694f;
        p = p * f + 0.0555032715f;
        p = p * f + 0.240226507f;
        p = p * f + 0.693147182f;
        p = p * f + 1.0f;
    }
    return p * as<Floats>((as<Ints>(shifted) << 23) + 0x3f800000);  // whole as an exponent, other bits shifted out
}
