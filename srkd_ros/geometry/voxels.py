# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Voxels: the occupied cells of a batch of clouds, in z-order, and the way from points to voxels and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from srkd_ros import native
from srkd_ros.geometry.curves import MAX_DEPTH, z_order


@dataclass
class Voxels:
    """V occupied voxels of B clouds, sorted by (cloud, z-order): the children of a coarser cell lie side by side."""

    grid: Tensor  # int64 [V, 3], cells from the cloud's lowest corner
    batch: Tensor  # int64 [V], cloud of each voxel
    code: Tensor  # int64 [V], z-order code with the cloud's number above bit 48; ascending
    point_to_voxel: Tensor  # int64 [N]
    first_point: Tensor  # int64 [V], the earliest point of each voxel
    points: Tensor  # int64 [V], number of points of each voxel
    clouds: int


def voxelize(xyz: Tensor, voxel_size: float, batch: Tensor | None = None, clouds: int = 1) -> Voxels:
    """Assign points float32 [N, 3] (finite, metres) to voxels; `batch` int64 [N] is the cloud of each point.

    Cells are counted from each cloud's lowest corner after flooring to the global grid, as Pointcept's GridSample does.
    Points more than 2**16 cells from that corner fall into the outermost cell.
    """
    alone = batch is None and xyz.device.type == "cpu" and xyz.dtype == torch.float32
    kernels = native.load_kernels() if alone else None
    if kernels is not None and (made := kernels.voxelize(xyz, voxel_size)) is not None:
        code, grid, first_point, points, point_to_voxel = made
        return Voxels(grid, torch.zeros_like(code), code, point_to_voxel, first_point, points, clouds)
    # In double, and not by a number, of which CUDA would take the reciprocal: a cell must not depend on rounding.
    cell = torch.floor(xyz.double() / torch.full((), voxel_size, dtype=torch.float64, device=xyz.device))
    if batch is None:
        lowest = cell.amin(0) if len(cell) else cell.new_zeros(3)
        cell = cell - lowest
    else:
        lowest = cell.new_full((clouds, 3), torch.inf)
        lowest.scatter_reduce_(0, batch[:, None].expand(-1, 3), cell, "amin")
        cell = cell - lowest.index_select(0, batch)
    return voxels_from_grid(cell.clamp_(max=(1 << MAX_DEPTH) - 1).long(), batch, clouds)


def voxels_from_grid(cell: Tensor, batch: Tensor | None = None, clouds: int = 1) -> Voxels:
    """As voxelize, for points that already have cells int64 [N, 3], non-negative and below 2**16."""
    code = z_order(cell)
    if batch is not None:
        code |= batch << (3 * MAX_DEPTH)
    code, order = torch.sort(code, stable=True)
    starts = torch.ones_like(code, dtype=torch.bool)
    torch.ne(code[1:], code[:-1], out=starts[1:])
    point_to_voxel = torch.empty_like(order).scatter_(0, order, torch.cumsum(starts, 0) - 1)
    heads = starts.nonzero().squeeze(1)
    first_point = order.index_select(0, heads)
    code = code.index_select(0, heads)
    return Voxels(
        grid=cell.index_select(0, first_point),
        batch=code >> (3 * MAX_DEPTH),
        code=code,
        point_to_voxel=point_to_voxel,
        first_point=first_point,
        points=torch.diff(heads, append=heads.new_full((1,), len(starts))),
        clouds=clouds,
    )


def voxel_mean(values: Tensor, voxels: Voxels) -> Tensor:
    """Mean of point values [N, C] in each voxel: [V, C]."""
    if (kernels := native.kernels_for(values)) is not None:
        return kernels.voxel_mean(values, voxels.point_to_voxel, voxels.points)
    total = values.new_zeros(len(voxels.code), values.shape[1])
    total.index_add_(0, voxels.point_to_voxel, values)
    return total / voxels.points.to(values.dtype)[:, None]
