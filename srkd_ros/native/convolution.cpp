// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// Submanifold sparse convolution by neighbour table: gather, product and sum in one pass, tile by tile of output rows.
//
// A tile's output stays in the second-level cache while all kernel offsets add to it, and each offset's weights serve
// all pairs of the tile. No temporary is written, and threads share nothing that they write to.

#include "bfloat16.h"
#include "parallel.h"
#include "vector.h"

namespace {

constexpr int TILE = 384;  // output rows
constexpr int ROWS = WIDTH == 16 ? 8 : 4;  // pairs at once: as many sums as there are registers for

// An element is a float, or a pair of bfloat16 numbers, of two input channels, in its place.
struct Product {
    const float *weight;  // [in, out], of one offset
    int64_t in, out;
};

template <bool PAIRS, class V>
inline V add(V sum, V weight, float x) {
    if constexpr (PAIRS) return add_pairs(sum, weight, float_in_all_lanes<V>(x));
    else return sum + weight * x;
}

template <bool PAIRS>
inline float multiplied(float sum, float a, float b) {
    if constexpr (!PAIRS) return sum + a * b;
    const uint32_t high = 0xffff0000, x = as<uint32_t>(a), y = as<uint32_t>(b);
    return sum + as<float>(x << 16) * as<float>(y << 16) + as<float>(x & high) * as<float>(y & high);
}

// Adds R rows of inputs times the columns [column, column + N * W) of the weight to R rows of outputs.
template <bool PAIRS, int R, int N, int W>
inline void add_rows(const float *const *x, float *const *y, const Product &product, int64_t column) {
    typename VectorOf<W>::Floats sum[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[r][n] = load<W>(y[r] + column + n * W);
    const float *weight = product.weight + column;
    for (int64_t i = 0; i < product.in; ++i, weight += product.out) {
        typename VectorOf<W>::Floats w[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) w[n] = load<W>(weight + n * W);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sum[r][n] = add<PAIRS>(sum[r][n], w[n], x[r][i]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) store<W>(y[r] + column + n * W, sum[r][n]);
}

template <bool PAIRS, int N, int W>
void add_columns(const float *const *x, float *const *y, int count, const Product &product, int64_t column) {
    int i = 0;
    for (; i + ROWS <= count; i += ROWS) add_rows<PAIRS, ROWS, N, W>(x + i, y + i, product, column);
    if (i + 4 <= count) add_rows<PAIRS, 4, N, W>(x + i, y + i, product, column), i += 4;
    if (i + 2 <= count) add_rows<PAIRS, 2, N, W>(x + i, y + i, product, column), i += 2;
    if (i < count) add_rows<PAIRS, 1, N, W>(x + i, y + i, product, column);
}

// y[i] += x[i] @ weight, for pairs of rows.
template <bool PAIRS>
void add_product(const float *const *x, float *const *y, int count, const Product &product) {
    int64_t column = 0;
    const auto left = [&] { return product.out - column; };
    for (; left() >= 3 * WIDTH; column += 3 * WIDTH) add_columns<PAIRS, 3, WIDTH>(x, y, count, product, column);
    if (left() >= 2 * WIDTH) add_columns<PAIRS, 2, WIDTH>(x, y, count, product, column), column += 2 * WIDTH;
    if constexpr (WIDTH == 16)
        if (left() >= 24) add_columns<PAIRS, 3, 8>(x, y, count, product, column), column += 24;
    if (left() >= WIDTH) add_columns<PAIRS, 1, WIDTH>(x, y, count, product, column), column += WIDTH;
    if constexpr (WIDTH == 16)
        if (left() >= 8) add_columns<PAIRS, 1, 8>(x, y, count, product, column), column += 8;
    if constexpr (WIDTH >= 8)
        if (left() >= 4) add_columns<PAIRS, 1, 4>(x, y, count, product, column), column += 4;
    for (; left() > 0; ++column)
        for (int i = 0; i < count; ++i)
            for (int64_t c = 0; c < product.in; ++c)
                y[i][column] = multiplied<PAIRS>(y[i][column], x[i][c], product.weight[c * product.out + column]);
}

template <bool PAIRS>
void convolve(const float *x, const int32_t *table, const float *weight, const float *bias, int64_t voxels,
              int64_t offsets, int64_t in, int64_t out, float *y, int threads) {
    // Tiles are smaller where there are too few for all threads.
    int64_t tile = (voxels + 4 * threads - 1) / (4 * threads);
    tile = tile < 32 ? 32 : tile > TILE ? TILE : tile;
    parallel_for((voxels + tile - 1) / tile, threads, [&](int64_t number) {
        const int64_t begin = number * tile, end = begin + tile < voxels ? begin + tile : voxels;
        for (int64_t v = begin; v < end; ++v)
            for (int64_t c = 0; c < out; ++c) y[v * out + c] = bias ? bias[c] : 0.0f;
        const float *from[TILE];
        float *to[TILE];
        for (int64_t k = 0; k < offsets; ++k) {
            int count = 0;
            for (int64_t v = begin; v < end; ++v) {
                const int32_t neighbor = table[v * offsets + k];
                from[count] = x + neighbor * in;
                to[count] = y + v * out;
                count += neighbor < voxels;
            }
            if (count) add_product<PAIRS>(from, to, count, {weight + k * in * out, in, out});
        }
    });
}

}  // namespace

extern "C" {

// x: float32 [V, in]; table: int32 [V, offsets], V where a neighbour is missing; weight: float32 [offsets, in, out];
// bias: float32 [out] or null; y: float32 [V, out]. With `pairs`, x is bfloat16 [V, in, 2], the weight bfloat16
// [offsets, in, out, 2]: the last axis is that of two input channels.
void srkd_convolution(const float *x, const int32_t *table, const float *weight, const float *bias, int64_t voxels,
                      int64_t offsets, int64_t in, int64_t out, float *y, int pairs, int threads) {
    (pairs && HAS_BFLOAT16 ? convolve<HAS_BFLOAT16> : convolve<false>)(x, table, weight, bias, voxels, offsets, in,
                                                                      out, y, threads);
}
}
