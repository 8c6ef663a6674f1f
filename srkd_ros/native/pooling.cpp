// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// Maximum over the children of each coarse voxel, which lie side by side: one pass over both.

#include "parallel.h"

#include <algorithm>

extern "C" {

// x: float32 [V, channels]; parents: int64 [V], ascending, every coarse voxel among them; y: float32 [coarse, channels].
void srkd_max_pooling(const float *x, const int64_t *parents, int64_t voxels, int64_t coarse, int64_t channels,
                      float *y, int threads) {
    const int64_t tile = std::max<int64_t>(64, (coarse + 4 * threads - 1) / (4 * threads));
    parallel_for((coarse + tile - 1) / tile, threads, [&](int64_t number) {
        const int64_t begin = number * tile, end = std::min(begin + tile, coarse);
        int64_t v = std::lower_bound(parents, parents + voxels, begin) - parents;
        for (int64_t last = -1; v < voxels && parents[v] < end; ++v) {
            float *best = y + parents[v] * channels;
            const float *row = x + v * channels;
            if (parents[v] != last) {
                last = parents[v];
                std::copy_n(row, channels, best);
                continue;
            }
            for (int64_t c = 0; c < channels; ++c)  // a NaN stays
                best[c] = ((best[c] >= row[c]) | (best[c] != best[c])) ? best[c] : row[c];
        }
    });
}
}
