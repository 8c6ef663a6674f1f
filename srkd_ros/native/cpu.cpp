// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// What every build of the kernels answers before its kernels are called.

#include "bfloat16.h"
#include "parallel.h"

Region parallel_region = nullptr;

extern "C" {

// Whether this machine has the instructions that the file was compiled for.
int srkd_supported() {
#if defined(__x86_64__)
    __builtin_cpu_init();
#if defined(__AVX512BF16__)
    if (!__builtin_cpu_supports("avx512bf16")) return 0;
#endif
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#endif
    return 1;
}

// Whether convolution and attention take pairs of bfloat16 numbers.
int srkd_has_bfloat16() { return HAS_BFLOAT16; }

// Of the sources it was made from: see setup.py.
const char *srkd_sources() { return SRKD_SOURCES; }

// GOMP_parallel of the OpenMP library that torch has loaded.
void srkd_threads(Region region) { parallel_region = region; }
}
