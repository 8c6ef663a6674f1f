// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// Points of a labelled PointCloud2, written in one pass over input and output.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "parallel.h"

namespace {

constexpr int64_t CHUNK = 32768;  // points of one piece of work: fewer are written before another thread wakes up

constexpr int64_t BYTES = 24;  // of a point

// Word by word: a point put together first would be read back before it is whole.
template <class T>
inline void put(uint8_t *to, T word) {
    static_assert(sizeof word == 4);
    std::memcpy(to, &word, 4);
}

}  // namespace

extern "C" {

// xyz: three floats each `step` bytes; labels, confidence: [N]; colours: uint32 [256], by label; out: 24 bytes a point,
// x y z rgb label confidence. Returns whether all coordinates are finite.
int srkd_write_points(const uint8_t *xyz, int64_t step, const uint8_t *labels, const float *confidence,
                      const uint32_t *colours, int64_t points, uint8_t *out, int threads) {
    int64_t wrong = 0;
    parallel_for((points + CHUNK - 1) / CHUNK, threads, [=, &wrong](int64_t piece) {
        // Bytes may alias anything, so the loop must not read what the closure holds.
        const uint8_t *from = xyz + piece * CHUNK * step, *label = labels + piece * CHUNK;
        const float *sure = confidence + piece * CHUNK;
        const uint32_t *colour = colours;
        uint8_t *to = out + piece * CHUNK * BYTES;
        const int64_t count = std::min(CHUNK, points - piece * CHUNK), stride = step;
        int64_t own = 0;
        for (int64_t i = 0; i < count; ++i, from += stride, to += BYTES) {
            float x[3];
            std::memcpy(x, from, sizeof x);
            own += !(std::isfinite(x[0]) && std::isfinite(x[1]) && std::isfinite(x[2]));
            put(to, x[0]), put(to + 4, x[1]), put(to + 8, x[2]);
            put(to + 12, colour[label[i]]);
            put(to + 16, uint32_t(label[i]));
            put(to + 20, sure[i]);
        }
        if (own) __atomic_fetch_add(&wrong, own, __ATOMIC_RELAXED);
    });
    return wrong == 0;
}
}
