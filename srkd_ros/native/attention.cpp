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

#include "bfloat16.h"
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

// Products in float32.
template <int D>
struct Full {
    static constexpr int KEY = D, VALUE = D;  // floats of a key and of a value in the scratch memory

    static void pack(float *keys, float *values, int64_t j, const float *key, const float *value) {
        std::memcpy(keys + j * D, key, D * sizeof(float));
        std::memcpy(values + j * D, value, D * sizeof(float));
    }

    static float query(const float *row, int i, float scale) { return row[i] * scale; }

    static Floats add(Floats sum, Floats query, float key) { return sum + query * key; }

    // Adds the values of keys [0, count), weighted by powers of two, to the sums.
    static void weigh(const Floats *score, Floats best, const float *value, int count, Floats &total, Floats *sum) {
        for (int j = 0; j < count; ++j, value += D) {
            const Floats weight = power_of_two(score[j] - best);
            total += weight;
#pragma GCC unroll 32
            for (int d = 0; d < D; ++d) sum[d] += weight * value[d];
        }
    }
};

// Products of bfloat16 numbers, two at a time: two channels of a query and a key, two keys of a value's channel.
template <int D>
struct Narrow {
    static_assert(D % 2 == 0);
    static constexpr int KEY = D / 2, VALUE = D / 2;

    static void pack(float *keys, float *values, int64_t j, const float *key, const float *value) {
        for (int i = 0; i < KEY; ++i) keys[j * KEY + i] = pair(key[2 * i], key[2 * i + 1]);
        for (int d = 0; d < D; ++d) {  // keys 2 i and 2 i + 1 share D floats; the first clears the place of the second
            float &both = values[(j / 2) * D + d];
            both = j % 2 ? as<float>(as<uint32_t>(both) | narrowed(value[d]) << 16) : as<float>(narrowed(value[d]));
        }
    }

    static float query(const float *row, int i, float scale) { return pair(row[2 * i] * scale, row[2 * i + 1] * scale); }

    static Floats add(Floats sum, Floats query, float key) {
        return add_pairs(sum, query, float_in_all_lanes<Floats>(key));
    }

    static void weigh(const Floats *score, Floats best, const float *value, int count, Floats &total, Floats *sum) {
        for (int j = 0; j < count; j += 2, value += D) {
            // The weights' upper halves as they are: what is cut off is missing in the total too.
            const Ints low = as<Ints>(power_of_two<true>(score[j] - best)) & int32_t(0xffff0000);
            Ints high = {};
            if (j + 1 < count) high = as<Ints>(power_of_two<true>(score[j + 1] - best)) & int32_t(0xffff0000);
            total += as<Floats>(low) + as<Floats>(high);
            const Floats weights = as<Floats>(shifted(low) | high);
#pragma GCC unroll 32
            for (int d = 0; d < D; ++d) sum[d] = add_pairs(sum[d], weights, float_in_all_lanes<Floats>(value[d]));
        }
    }

    static Ints shifted(Ints x) { return (x >> 16) & 0xffff; }
};

template <int D, class Form>
void attend(const Patch &patch, int64_t head, Rows q, Rows k, Rows v, float scale, float *out, int64_t out_stride,
            float *scratch) {
    constexpr int K = Form::KEY;
    float *keys = scratch, *values = scratch + patch.key_count * D;
    for (int64_t j = 0; j < patch.key_count; ++j)
        Form::pack(keys, values, j, k.row(patch.keys[j], head, D), v.row(patch.keys[j], head, D));
    for (int64_t first = 0; first < patch.query_count; first += WIDTH) {
        const int lanes = int(patch.query_count - first < WIDTH ? patch.query_count - first : WIDTH);
        alignas(64) float turned[D][WIDTH];
        for (int lane = 0; lane < WIDTH; ++lane) {
            const float *row = q.row(patch.queries[first + (lane < lanes ? lane : 0)], head, D);
            for (int i = 0; i < K; ++i) turned[i][lane] = Form::query(row, i, scale);
        }
        Floats query[K], sum[D];
        for (int i = 0; i < K; ++i) query[i] = load<WIDTH>(turned[i]);
        for (int d = 0; d < D; ++d) sum[d] = Floats{};
        Floats highest = Floats{} - std::numeric_limits<float>::max(), total = Floats{};  // infinite less infinite: none
        for (int64_t start = 0; start < patch.key_count; start += BLOCK) {
            const int count = int(patch.key_count - start < BLOCK ? patch.key_count - start : BLOCK);
            alignas(64) Floats score[BLOCK];
            const float *key = keys + start * K;
            int j = 0;
            Floats best = highest;
            for (; j + 4 <= count; j += 4, key += 4 * K) {  // four sums at once hide the latency of an addition
                Floats a = {}, b = {}, c = {}, e = {};
#pragma GCC unroll 32
                for (int i = 0; i < K; ++i) {
                    a = Form::add(a, query[i], key[i]);
                    b = Form::add(b, query[i], key[K + i]);
                    c = Form::add(c, query[i], key[2 * K + i]);
                    e = Form::add(e, query[i], key[3 * K + i]);
                }
                score[j] = a, score[j + 1] = b, score[j + 2] = c, score[j + 3] = e;
                best = larger(best, larger(larger(a, b), larger(c, e)));
            }
            for (; j < count; ++j, key += K) {
                Floats a = {};
                for (int i = 0; i < K; ++i) a = Form::add(a, query[i], key[i]);
                score[j] = a;
                best = larger(best, a);
            }
            const Floats shrink = power_of_two(highest - best);
            highest = best;
            total *= shrink;
#pragma GCC unroll 32
            for (int d = 0; d < D; ++d) sum[d] *= shrink;
            Form::weigh(score, best, values + start * Form::VALUE, count, total, sum);
        }
        for (int d = 0; d < D; ++d) store<WIDTH>(turned[d], sum[d] / total);
        for (int lane = 0; lane < lanes; ++lane) {
            float *row = out + patch.queries[first + lane] * out_stride + head * D;
            for (int d = 0; d < D; ++d) row[d] = turned[d][lane];
        }
    }
}

using Attend = void (*)(const Patch &, int64_t, Rows, Rows, Rows, float, float *, int64_t, float *);

template <int D>
Attend of_form(bool narrow) {
    if constexpr (HAS_BFLOAT16)
        if (narrow) return attend<D, Narrow<D>>;
    return attend<D, Full<D>>;
}

Attend of_width(int dim, bool narrow) {
    switch (dim) {
        case 6: return of_form<6>(narrow);
        case 8: return of_form<8>(narrow);
        case 12: return of_form<12>(narrow);
        case 16: return of_form<16>(narrow);
        case 18: return of_form<18>(narrow);
        case 24: return of_form<24>(narrow);
        case 32: return of_form<32>(narrow);
        default: return nullptr;
    }
}

}  // namespace

extern "C" {

// Whether there is a kernel for heads of this width.
int srkd_attention_has(int dim) { return of_width(dim, false) != nullptr; }

// q, k, v: rows of voxels, float32 [V, heads * dim] with strides in floats. table: int64 [patches, size], the voxels of
// each patch; filled: bool [patches, size] or null, where the table's entries count; slot: int64 [V], each voxel's own
// place in the table. out: float32 [V, heads * dim]. With `narrow`, products are of bfloat16 numbers.
void srkd_attention(const float *q, const float *k, const float *v, int64_t q_stride, int64_t k_stride,
                    int64_t v_stride, const int64_t *table, const uint8_t *filled, const int64_t *slot,
                    int64_t patches, int64_t size, int64_t heads, int dim, float *out, int narrow, int threads) {
    const Attend attend_head = of_width(dim, narrow);
    const float scale = 1.4426950408889634f / std::sqrt(float(dim));  // powers of two instead of e
    parallel_for(patches * heads, threads, [&](int64_t item) {
        const int64_t patch = item / heads;
        const std::unique_ptr<int64_t[]> own(new int64_t[2 * size]);
        const std::unique_ptr<float[]> scratch(new float[2 * (size + 1) * dim]);
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
