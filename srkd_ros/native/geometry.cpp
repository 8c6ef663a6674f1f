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

int64_t pieces(int64_t count) { return (count + CHUNK - 1) / CHUNK; }

}  // namespace

extern "C" {

// xyz: float32 [N, 3], finite. codes: int64 [N], z-order codes of cells of `size`, counted from the lowest cell of all.
void srkd_voxel_codes(const float *xyz, int64_t points, double size, int64_t *codes, int threads) {
    const std::unique_ptr<double[]> lowest(new double[3 * pieces(points)]);
    parallel_for(pieces(points), threads, [&](int64_t piece) {
        double low[3];
        std::fill_n(low, 3, std::numeric_limits<double>::infinity());
        for (int64_t i = piece * CHUNK; i < std::min((piece + 1) * CHUNK, points); ++i)
            for (int axis = 0; axis < 3; ++axis) low[axis] = std::min(low[axis], double(xyz[3 * i + axis]));
        for (int axis = 0; axis < 3; ++axis) lowest[3 * piece + axis] = std::floor(low[axis] / size);
    });
    double low[3];
    std::fill_n(low, 3, std::numeric_limits<double>::infinity());
    for (int64_t piece = 0; piece < pieces(points); ++piece)
        for (int axis = 0; axis < 3; ++axis) low[axis] = std::min(low[axis], lowest[3 * piece + axis]);
    parallel_for(pieces(points), threads, [&](int64_t piece) {
        for (int64_t i = piece * CHUNK; i < std::min((piece + 1) * CHUNK, points); ++i) {
            uint64_t code = 0;
            for (int axis = 0; axis < 3; ++axis) {
                const double cell = std::floor(double(xyz[3 * i + axis]) / size) - low[axis];
                code = code << 1 | spread(uint64_t(std::min(cell, double(LAST_CELL))));
            }
            codes[i] = int64_t(code);
        }
    });
}

// sorted: int64 [N], ascending; order: int64 [N], the point of each. For each of the distinct codes, which are counted:
// voxel_codes, grid [., 3], first_point (the first in the order) and count. point_to_voxel: int64 [N]. Arrays are as
// long as if all codes were distinct.
int64_t srkd_voxel_runs(const int64_t *sorted, const int64_t *order, int64_t points, int64_t *voxel_codes,
                        int64_t *grid, int64_t *first_point, int64_t *count, int64_t *point_to_voxel) {
    int64_t voxel = -1;
    for (int64_t i = 0; i < points; ++i) {
        if (voxel < 0 || sorted[i] != voxel_codes[voxel]) {
            ++voxel;
            voxel_codes[voxel] = sorted[i];
            first_point[voxel] = order[i];
            count[voxel] = 0;
            for (int axis = 0; axis < 3; ++axis) grid[3 * voxel + axis] = gathered(uint64_t(sorted[i]) >> (2 - axis));
        }
        ++count[voxel];
        point_to_voxel[order[i]] = voxel;
    }
    return voxel + 1;
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
