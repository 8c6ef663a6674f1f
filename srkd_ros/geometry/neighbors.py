# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Neighbour tables of submanifold convolution, found by descending the octree: two gathers, no hashing, no search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from srkd_ros import gpu, native
from srkd_ros.geometry.curves import MAX_DEPTH, z_order


@dataclass
class Pairs:
    """The pairs (input voxel, output voxel) of a submanifold convolution, by kernel offset.

    A submanifold convolution is symmetric: the pairs of offset k are those of K-1-k with sides exchanged, and the
    centre pairs every voxel with itself. So only the offsets before the centre are listed.
    """

    source: Tensor  # int64 [M], input voxel
    target: Tensor  # int64 [M], output voxel
    counts: list[int]  # pairs of each of the K // 2 offsets before the centre


def offsets(kernel_size: int) -> Tensor:
    """Kernel offsets int64 [K, 3] (dx, dy, dz), x slowest: offset k and K-1-k are opposite, K // 2 is the centre."""
    reach = kernel_size // 2
    axis = torch.arange(-reach, reach + 1)
    return torch.cartesian_prod(axis, axis, axis)


@cache
def _offsets_on(kernel_size: int, device: torch.device) -> Tensor:
    """Sent once to each device: sending waits for it."""
    return offsets(kernel_size).to(device)


def neighbors_by_search(grid: Tensor, batch: Tensor, code: Tensor, kernel_size: int) -> Tensor:
    """Neighbour table int32 [V, K] by binary search among the sorted codes: for the coarsest level. Missing is V."""
    if (kernels := gpu.taken_for(grid.device)) is not None:
        return kernels.geometry.search(grid, batch, code, kernel_size)
    voxels = len(code)
    cells = grid[:, None, :] + _offsets_on(kernel_size, grid.device)  # [V, K, 3]
    inside = ((cells >= 0) & (cells < (1 << MAX_DEPTH))).all(-1)
    wanted = z_order(cells.clamp(0, (1 << MAX_DEPTH) - 1).view(-1, 3)).view(voxels, -1)
    return _search(wanted, inside, batch, code)


def _search(wanted: Tensor, inside: Tensor, batch: Tensor, code: Tensor) -> Tensor:
    voxels = len(code)
    bits = 3 * MAX_DEPTH
    wanted = wanted | (batch[:, None] << bits)
    place = torch.searchsorted(code, wanted).clamp_(max=max(voxels - 1, 0))
    found = inside & (code[place] == wanted)
    return torch.where(found, place, voxels).int()


def neighbors_by_descent(
    parent_neighbors: Tensor, parents: Tensor, grid: Tensor, children: Tensor, kernel_size: int, half: bool = False
) -> Tensor:
    """Neighbour table int32 [V, K] from the coarser level's 3x3x3 table [Vp, 27] and children table [Vp + 1, 8].

    `parents` int64 [V] and `grid` int64 [V, 3] are those of the voxels; all tables are int32.

    A voxel's neighbour lies in its parent or one of the parent's 26 neighbours; which of them, and which child there,
    is fixed by the voxel's octant and the offset. Missing neighbours are V. With `half`, only the K // 2 offsets before
    the centre, [V, K // 2].
    """
    direction, child = _descent_tables(kernel_size, half, parents.device)
    if parents.device.type == "cpu" and (kernels := native.load_kernels()) is not None:
        return kernels.neighbors(parent_neighbors, parents, grid, children, direction, child)
    if (on_gpu := gpu.taken_for(parents.device)) is not None:
        return on_gpu.geometry.neighbors(parent_neighbors, parents, grid, children, direction, child)
    octants = octant(grid)
    coarse = direction.index_select(0, octants).add_((parents.int() * 27)[:, None])
    fine = (parent_neighbors * 8).view(-1).index_select(0, coarse.view(-1))
    fine.add_(child.index_select(0, octants).view(-1))
    return children.view(-1).index_select(0, fine).view(coarse.shape)


def octant(grid: Tensor) -> Tensor:
    """Which of its parent's eight children a voxel is: int64 [V] of cells int64 [V, 3], x the highest bit."""
    return ((grid[:, 0] & 1) << 2) | ((grid[:, 1] & 1) << 1) | (grid[:, 2] & 1)


def pairs_from_half(half: Tensor) -> Pairs:
    """Pair lists from the half table [V, K // 2] of neighbors_by_descent."""
    voxels = len(half)
    by_offset = half.t().contiguous()
    found = by_offset < voxels
    flat = found.view(-1).nonzero().squeeze(1)
    source = by_offset.view(-1).index_select(0, flat).long()
    return Pairs(source, flat % max(voxels, 1), found.sum(1).tolist())


@cache
def _descent_tables(kernel_size: int, half: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each octant [8] and offset [K]: which of the parent's 27 neighbours, and which of its 8 children."""
    octant = torch.arange(8)
    corner = torch.stack([octant >> 2, (octant >> 1) & 1, octant & 1], 1)  # [8, 3]
    cell = corner[:, None, :] + offsets(kernel_size)  # [8, K, 3], in units of the fine level, from the parent's corner
    parent = torch.div(cell, 2, rounding_mode="floor")  # -1, 0 or 1
    inside = cell - 2 * parent
    place = torch.tensor([9, 3, 1])
    bit = torch.tensor([4, 2, 1])
    wanted = slice(kernel_size**3 // 2 if half else None)
    tables = ((parent + 1) * place).sum(-1)[:, wanted], (inside * bit).sum(-1)[:, wanted]
    return tables[0].int().contiguous().to(device), tables[1].int().contiguous().to(device)
