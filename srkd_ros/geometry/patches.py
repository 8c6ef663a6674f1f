# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Patches of attention: runs of a space-filling curve, of equal length, as one index table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from srkd_ros import gpu


@dataclass
class Patches:
    """P patches of up to K voxels along one curve order."""

    table: Tensor  # int64 [P, K], voxel in each slot; V where a slot is empty
    slot: Tensor  # int64 [V], place of each voxel in the flattened table (its own, not a padding copy)
    mask: Tensor | None  # bool [P, K], True where a slot is filled; None if all are


def make_patches(order: Tensor, counts: list[int], patch_size: int) -> Patches:
    """Cut a curve order int64 [V] of clouds with `counts` voxels each into patches of `patch_size`.

    The padding rule is PTv3's: the last patch of a cloud is filled with the voxels one patch earlier, so that every
    patch is full; a cloud of at most one patch is a patch of its own, whose rest is empty (masked) if other clouds are
    larger.
    """
    device, voxels = order.device, len(order)
    width = max(1, min(patch_size, max(counts, default=0)))
    rows = [-(-n // width) for n in counts]
    if len(counts) == 1 and (kernels := gpu.taken_for(device)) is not None:
        table, slot = kernels.geometry.patches(order, width)
        return Patches(table, slot, None)
    if len(counts) == 1:  # the robot's case
        place = torch.arange(rows[0] * width, device=device)
        if rows[0] > 1:
            place = torch.where(place < voxels, place, place - width)
        slot = torch.empty_like(order).scatter_(0, order, torch.arange(voxels, device=device))
        return Patches(order.index_select(0, place).view(-1, width), slot, None)

    count = torch.tensor(counts, device=device)
    row = torch.tensor(rows, device=device)
    start = torch.cumsum(count, 0) - count
    row_start = torch.cumsum(row, 0) - row
    cloud = torch.repeat_interleave(torch.arange(len(counts), device=device), row, output_size=sum(rows))  # [P]
    in_cloud = (torch.arange(sum(rows), device=device) - row_start[cloud])[:, None] * width
    in_cloud = in_cloud + torch.arange(width, device=device)
    n = count[cloud][:, None]
    place = torch.where(in_cloud < n, in_cloud, torch.where(n > width, in_cloud - width, -1))  # [P, K]
    filled = place >= 0
    padded_order = torch.cat([order, order.new_full((1,), voxels)])
    table = padded_order[torch.where(filled, place + start[cloud][:, None], voxels)]

    position_cloud = torch.repeat_interleave(torch.arange(len(counts), device=device), count, output_size=voxels)
    place = torch.arange(voxels, device=device) + (row_start * width - start)[position_cloud]
    slot = torch.empty_like(order).scatter_(0, order, place)
    masked = any(n < width for n in counts if n)
    return Patches(table, slot, filled if masked else None)
