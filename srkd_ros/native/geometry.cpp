// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// Voxels and their neighbours: the loops of srkd_ros.geometry that are many small operations on large arrays in torch.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "parallel.h"

namespace {

constexpr int64_t CHUNK = 8192;  // points or voxels of one piece of work
constexpr int64_t LAST_CELL = (1 << 16) - 1;

// The low 16 bits of a number, three places apart.
inline uint64_t spread(uint64_t x) {
    x = (x | x << 32) & 0x00ff00000000ffff;
    x = (x | x << 16) & 0x00ff0000ff0000ff;
    x = (x | x << 8) & 0xf00f00f00f00f00f;
    x = (x | x << 4) & 0x30c30c30c30c30c3;
    return (x | x << 2) & 0x9249249249249249;
}

inline int64_t gathered(uint64_t x) {
    x &= 0x9249249249249249;
    x = (x | x >> 2) & 0x30c30c30c30c30c3;
    x = (x | x >> 4) & 0xf00f00f00f00f00f;
    x = (x | x >> 8) & 0x00ff0000ff0000ff;
    x = (x | x >> 16) & 0x00ff00000000ffff;
    return int64_t((x | x >> 32) & 0xffff);
}

int bits(uint64_t x) { return x ? 64 - __builtin_clzll(x) : 0; }

// Radix sort of keys by `count` bits from bit `first` on, from the lowest digit up; returns which array holds the result.
uint64_t *sort(uint64_t *keys, uint64_t *other, int64_t length, int first, int count) {
    constexpr int DIGIT = 11;
    const std::unique_ptr<int64_t[]> place(new int64_t[1 << DIGIT]);
    for (int bit = first; bit < first + count; bit += DIGIT) {
        const uint64_t mask = (uint64_t(1) << std::min(DIGIT, first + count - bit)) - 1;
        std::fill_n(place.get(), 1 << DIGIT, 0);
        for (int64_t i = 0; i < length; ++i) ++place[keys[i] >> bit & mask];
        int64_t before = 0;
        for (int digit = 0; digit < 1 << DIGIT; ++digit) {
            const int64_t own = place[digit];
            place[digit] = before;
            before += own;
        }
        for (int64_t i = 0; i < length; ++i) other[place[keys[i] >> bit & mask]++] = keys[i];
        std::swap(keys, other);
    }
    return keys;
}

int64_t pieces(int64_t count) { return (count + CHUNK - 1) / CHUNK; }

}  // namespace

extern "C" {

// Voxels of points, as srkd_ros.geometry.voxels.Voxels has them, sorted by z-order code.
// xyz: float32 [N, 3], finite; size: of a cell, counted from the lowest cell of all. For each voxel: code, grid [., 3],
// first_point and count, int64; point_to_voxel: int64 [N]. Arrays are as long as if each point had its own voxel.
// Returns the number of voxels, or -1 if code and number of a point do not fit into 64 bits: nothing is done then.
int64_t srkd_voxelize(const float *xyz, int64_t points, double size, int64_t *code, int64_t *grid,
                      int64_t *first_point, int64_t *count, int64_t *point_to_voxel, int threads) {
    if (points == 0) return 0;
    const int64_t parts = pieces(points);
    const std::unique_ptr<double[]> bounds(new double[6 * parts]);  // lowest and highest of each piece
    parallel_for(parts, threads, [&](int64_t piece) {
        double *low = &bounds[6 * piece], *high = low + 3;
        for (int axis = 0; axis < 3; ++axis) low[axis] = high[axis] = xyz[3 * piece * CHUNK + axis];
        for (int64_t i = piece * CHUNK; i < std::min((piece + 1) * CHUNK, points); ++i)
            for (int axis = 0; axis < 3; ++axis) {
                low[axis] = std::min(low[axis], double(xyz[3 * i + axis]));
                high[axis] = std::max(high[axis], double(xyz[3 * i + axis]));
            }
    });
    double low[3], extent = 0;
    for (int axis = 0; axis < 3; ++axis) {
        double from = bounds[axis], to = bounds[axis + 3];
        for (int64_t piece = 1; piece < parts; ++piece) {
            from = std::min(from, bounds[6 * piece + axis]);
            to = std::max(to, bounds[6 * piece + axis + 3]);
        }
        low[axis] = std::floor(from / size);
        extent = std::max(extent, std::min(std::floor(to / size) - low[axis], double(LAST_CELL)));
    }
    const int code_bits = 3 * bits(uint64_t(extent)), point_bits = bits(uint64_t(points - 1));
    if (code_bits + point_bits > 64) return -1;

    // Keys hold the code above the point's number, so that one array is sorted, by the code's bits alone.
    const std::unique_ptr<uint64_t[]> keys(new uint64_t[2 * points]);
    parallel_for(parts, threads, [&](int64_t piece) {
        for (int64_t i = piece * CHUNK; i < std::min((piece + 1) * CHUNK, points); ++i) {
            uint64_t own = 0;
            for (int axis = 0; axis < 3; ++axis) {
                const double cell = std::floor(double(xyz[3 * i + axis]) / size) - low[axis];
                own = own << 1 | spread(uint64_t(std::min(cell, double(LAST_CELL))));
            }
            keys[i] = point_bits < 64 ? own << point_bits | uint64_t(i) : uint64_t(i);
        }
    });
    const uint64_t *sorted = sort(keys.get(), keys.get() + points, points, point_bits, code_bits);

    int64_t voxel = -1;
    uint64_t last = ~uint64_t(0);
    const uint64_t number = (uint64_t(1) << point_bits) - 1;
    for (int64_t i = 0; i < points; ++i) {
        const uint64_t own = sorted[i] >> point_bits;
        const int64_t point = int64_t(sorted[i] & number);
        if (own != last) {
            last = own;
            ++voxel;
            code[voxel] = int64_t(own);
            first_point[voxel] = point;
            count[voxel] = 0;
            for (int axis = 0; axis < 3; ++axis) grid[3 * voxel + axis] = gathered(own >> (2 - axis));
        }
        ++count[voxel];
        point_to_voxel[point] = voxel;
    }
    return voxel + 1;
}

// Mean of values, float32 [N, channels], of each voxel's points: float32 [V, channels].
void srkd_voxel_mean(const float *values, const int64_t *point_to_voxel, const int64_t *count, int64_t points,
                     int64_t voxels, int64_t channels, float *mean) {
    std::fill_n(mean, voxels * channels, 0.0f);
    for (int64_t i = 0; i < points; ++i)
        for (int64_t c = 0; c < channels; ++c) mean[point_to_voxel[i] * channels + c] += values[i * channels + c];
    for (int64_t v = 0; v < voxels; ++v)
        for (int64_t c = 0; c < channels; ++c) mean[v * channels + c] /= float(count[v]);
}

// The neighbours of each voxel from those of its parent: see srkd_ros.geometry.neighbors.neighbors_by_descent.
// parent_neighbors: int32 [Vp, 27]; parents: int64 [V]; grid: int64 [V, 3]; children: int32 [Vp + 1, 8]; direction and
// child: int32 [8, offsets]; neighbors: int32 [V, offsets].
void srkd_neighbors(const int32_t *parent_neighbors, const int64_t *parents, const int64_t *grid,
                    const int32_t *children, const int32_t *direction, const int32_t *child, int64_t voxels,
                    int64_t offsets, int32_t *neighbors, int threads) {
    parallel_for(pieces(voxels), threads, [&](int64_t piece) {
        for (int64_t v = piece * CHUNK; v < std::min((piece + 1) * CHUNK, voxels); ++v) {
            const int64_t *cell = grid + 3 * v;
            const int64_t octant = (cell[0] & 1) << 2 | (cell[1] & 1) << 1 | (cell[2] & 1);
            const int32_t *around = parent_neighbors + parents[v] * 27;
            for (int64_t k = 0; k < offsets; ++k)
                neighbors[v * offsets + k] =
                    children[int64_t(around[direction[octant * offsets + k]]) * 8 + child[octant * offsets + k]];
        }
    });
}
}
