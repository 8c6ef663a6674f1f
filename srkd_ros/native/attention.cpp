// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// Attention within patches, for heads so narrow that a matrix product per head wastes most of its work.
//
// A vector holds one channel of WIDTH queries, so that no width of head needs padding. Softmax is kept up block by
// block of keys (Milakov and Gimelshein, 2018), and products of one block stay in the first-level cache. Queries, keys
// and values are read from their voxels' rows and results written there: no copy in the order of patches is made.

#include <cmath>
#include <limits>
#include <memory>

#include "parallel.h"
#include "vector.h"

namespace {

constexpr int BLOCK = 64;  // keys

struct Rows {
    const float *data;
    int64_t stride;
    const float *row(int64_t voxel, int64_t head, int dim) const { return data + voxel * stride + head * dim; }
};

struct Patch {
    const int64_t *keys;     // voxels
    const int64_t *queries;  // voxels, whose own patch this is
    int64_t key_count, query_count;
};

template <int D>
void attend(const Patch &patch, int64_t head, Rows q, Rows k, Rows v, float scale, float *out, int64_t out_stride,
            float *scratch) {
    float *keys = scratch, *values = scratch + patch.key_count * D;
    for (int64_t j = 0; j < patch.key_count; ++j) {
        std::memcpy(keys + j * D, k.row(patch.keys[j], head, D), D * sizeof(float));
        std::memcpy(values + j * D, v.row(patch.keys[j], head, D), D * sizeof(float));
    }
    for (int64_t first = 0; first < patch.query_count; first += WIDTH) {
        const int lanes = int(patch.query_count - first < WIDTH ? patch.query_count - first : WIDTH);
        alignas(64) float turned[D][WIDTH];
        for (int lane = 0; lane < WIDTH; ++lane) {
            const float *row = q.row(patch.queries[first + (lane < lanes ? lane : 0)], head, D);
            for (int d = 0; d < D; ++d) turned[d][lane] = row[d] * scale;
        }
        Floats query[D], sum[D];
        for (int d = 0; d < D; ++d) query[d] = load<WIDTH>(turned[d]), sum[d] = Floats{};
        Floats highest = Floats{} - std::numeric_limits<float>::infinity(), total = Floats{};
        for (int64_t start = 0; start < patch.key_count; start += BLOCK) {
            const int count = int(patch.key_count - start < BLOCK ? patch.key_count - start : BLOCK);
            alignas(64) Floats score[BLOCK];
            const float *key = keys + start * D;
            int j = 0;
            Floats best = highest;
            for (; j + 4 <= count; j += 4, key += 4 * D) {  // four sums at once hide the latency of an addition
                Floats a = query[0] * key[0], b = query[0] * key[D], c = query[0] * key[2 * D],
                       e = query[0] * key[3 * D];
#pragma GCC unroll 32
                for (int d = 1; d < D; ++d) {
                    a += query[d] * key[d];
                    b += query[d] * key[D + d];
                    c += query[d] * key[2 * D + d];
                    e += query[d] * key[3 * D + d];
                }
                score[j] = a, score[j + 1] = b, score[j + 2] = c, score[j + 3] = e;
                best = larger(best, larger(larger(a, b), larger(c, e)));
            }
            for (; j < count; ++j, key += D) {
                Floats a = query[0] * key[0];
                for (int d = 1; d < D; ++d) a += query[d] * key[d];
                score[j] = a;
                best = larger(best, a);
            }
            const Floats shrink = power_of_two(highest - best);
            highest = best;
            total *= shrink;
#pragma GCC unroll 32
            for (int d = 0; d < D; ++d) sum[d] *= shrink;
            const float *value = values + start * D;
            for (j = 0; j < count; ++j, value += D) {
                const Floats weight = power_of_two(score[j] - best);
                total += weight;
#pragma GCC unroll 32
                for (int d = 0; d < D; ++d) sum[d] += weight * value[d];
            }
        }
        for (int d = 0; d < D; ++d) store<WIDTH>(turned[d], sum[d] / total);
        for (int lane = 0; lane < lanes; ++lane) {
            float *row = out + patch.queries[first + lane] * out_stride + head * D;
            for (int d = 0; d < D; ++d) row[d] = turned[d][lane];
        }
    }
}

using Attend = void (*)(const Patch &, int64_t, Rows, Rows, Rows, float, float *, int64_t, float *);

Attend of_width(int dim) {
    switch (dim) {
        case 6: return attend<6>;
        case 8: return attend<8>;
        case 12: return attend<12>;
        case 16: return attend<16>;
        case 18: return attend<18>;
        case 24: return attend<24>;
        case 32: return attend<32>;
        default: return nullptr;
    }
}

}  // namespace

extern "C" {

// Whether there is a kernel for heads of this width.
int srkd_attention_has(int dim) { return of_width(dim) != nullptr; }

// q, k, v: rows of voxels, float32 [V, heads * dim] with strides in floats. table: int64 [patches, size], the voxels of
// each patch; filled: bool [patches, size] or null, where the table's entries count; slot: int64 [V], each voxel's own
// place in the table. out: float32 [V, heads * dim].
void srkd_attention(const float *q, const float *k, const float *v, int64_t q_stride, int64_t k_stride,
                    int64_t v_stride, const int64_t *table, const uint8_t *filled, const int64_t *slot,
                    int64_t patches, int64_t size, int64_t heads, int dim, float *out, int threads) {
    const Attend attend_head = of_width(dim);
    const float scale = 1.4426950408889634f / std::sqrt(float(dim));  // powers of two instead of e
    parallel_for(patches * heads, threads, [&](int64_t item) {
        const int64_t patch = item / heads;
        const std::unique_ptr<int64_t[]> own(new int64_t[2 * size]);
        const std::unique_ptr<float[]> scratch(new float[2 * size * dim]);
        Patch one = {own.get(), own.get() + size, 0, 0};
        for (int64_t i = patch * size; i < (patch + 1) * size; ++i) {
            if (filled && !filled[i]) continue;
            own[one.key_count++] = table[i];
            if (slot[table[i]] == i) own[size + one.query_count++] = table[i];
        }
        attend_head(one, item % heads, {q, q_stride}, {k, k_stride}, {v, v_stride}, scale, out, heads * dim,
                    scratch.get());
    });
}
}
