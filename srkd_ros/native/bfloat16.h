// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// Pairs of bfloat16 numbers in the place of one float, where the processor multiplies and adds them in one step.

#pragma once

#include "vector.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>

constexpr bool HAS_BFLOAT16 = true;

// sum + a.low * b.low + a.high * b.high in each lane; a and b are pairs in the lanes' bits.
inline VectorOf<16>::Floats add_pairs(VectorOf<16>::Floats sum, VectorOf<16>::Floats a, VectorOf<16>::Floats b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
inline VectorOf<8>::Floats add_pairs(VectorOf<8>::Floats sum, VectorOf<8>::Floats a, VectorOf<8>::Floats b) {
    return _mm256_dpbf16_ps(sum, (__m256bh)a, (__m256bh)b);
}
inline VectorOf<4>::Floats add_pairs(VectorOf<4>::Floats sum, VectorOf<4>::Floats a, VectorOf<4>::Floats b) {
    return _mm_dpbf16_ps(sum, (__m128bh)a, (__m128bh)b);
}
#else
constexpr bool HAS_BFLOAT16 = false;

template <class V>
inline V add_pairs(V sum, V, V) {
    return sum;  // never called
}
#endif

// The upper half of a float, rounded to nearest even; not-a-number stays one.
inline uint32_t narrowed(float x) {
    const uint32_t bits = as<uint32_t>(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

inline float pair(float low, float high) { return as<float>(narrowed(low) | narrowed(high) << 16); }
