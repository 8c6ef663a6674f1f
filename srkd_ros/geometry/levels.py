# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Geometry: every index table that a sparse U-Net needs, computed once per cloud and shared by all layers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from srkd_ros import gpu, native
from srkd_ros.geometry.curves import MAX_DEPTH, encode
from srkd_ros.geometry.neighbors import Pairs, neighbors_by_descent, neighbors_by_search, octant, pairs_from_half
from srkd_ros.geometry.patches import Patches, make_patches
from srkd_ros.geometry.rotary import rotary_table
from srkd_ros.geometry.voxels import Voxels


@dataclass(frozen=True)
class LevelSpec:
    """What one level's layers need: kernel sizes of its convolutions, curve orders of its attention."""

    kernel_sizes: tuple[int, ...] = (3,)
    orders: tuple[str, ...] = ()


@dataclass(frozen=True)
class GeometrySpec:
    """Which tables to make. A network states it (`PointTransformer.geometry_spec`)."""

    levels: tuple[LevelSpec, ...]
    patch_size: int = 1024
    curve_depth: str = "level"  # see PointTransformerConfig.curve_depth
    # "pairs": convolution by lists, pooling by scatter (training, CPUs). "neighbors": both by tables (GPUs, engines,
    # and the C++ kernels of CPUs).
    tables: str = "pairs"

    def for_inference(self, device: torch.device, dtype: torch.dtype = torch.float32) -> GeometrySpec:
        """The tables that a network without gradients reads fastest there, its products being of `dtype`."""
        kernels = native.load_kernels()
        ours = kernels is not None and dtype in kernels.dtypes
        return dataclasses.replace(self, tables="neighbors" if ours or device.type != "cpu" else "pairs")


@dataclass
class Level:
    """One resolution: V voxels in z-order. `neighbors`, `pairs` and `patches` hold what the spec asked for."""

    grid: Tensor  # int64 [V, 3]
    batch: Tensor  # int64 [V]
    counts: list[int]  # voxels of each cloud
    neighbors: dict[int, Tensor] = field(default_factory=dict)  # kernel size -> int32 [V, K], missing is V
    pairs: dict[int, Pairs] = field(default_factory=dict)  # kernel size -> pair lists
    patches: dict[str, Patches] = field(default_factory=dict)  # curve order -> patches
    parents: Tensor | None = None  # int64 [V], voxel of the next coarser level; None at the coarsest
    children: Tensor | None = None  # int32 [V, 8], voxels of the next finer level by octant; missing is their number

    accelerator: Any = None  # what an optional convolution backend keeps for this level
    _rotary: dict[tuple[int, float], Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.grid)

    def rotary(self, head_dim: int, base: float) -> Tensor:
        """The level's rotary table (see rotary_table), made once for all its blocks."""
        if (head_dim, base) not in self._rotary:
            self._rotary[head_dim, base] = rotary_table(self.grid, head_dim, base)
        return self._rotary[head_dim, base]


@dataclass
class Geometry:
    """The levels of a batch of clouds, finest first."""

    levels: list[Level]
    spec: GeometrySpec


def build_geometry(voxels: Voxels, spec: GeometrySpec) -> Geometry:
    """Make the tables of all levels, on the device of `voxels`, which must not be empty.

    Host and device meet twice: for the sizes of all levels at once, and, with pair lists, for their lengths.
    """
    kernels = gpu.taken_for(voxels.code.device)
    if kernels is not None and voxels.clouds == 1 and len(spec.levels) > 1:
        levels, codes, extent = _levels_by_kernels(voxels, len(spec.levels), kernels)
    else:
        levels, codes, extent = _levels(voxels, len(spec.levels))
    _add_neighbors(levels, codes, spec)
    for number, (level, wanted) in enumerate(zip(levels, spec.levels, strict=True)):
        own = (extent >> number) + 1
        depth = own.bit_length() if spec.curve_depth == "level" else max((extent + 1).bit_length() - number, 1)
        for order in wanted.orders:
            level.patches[order] = make_patches(
                _curve_order(level, order, min(depth, MAX_DEPTH)), level.counts, spec.patch_size
            )
        if level.children is not None:
            level.children = level.children[:-1] if spec.tables == "neighbors" else None
    return Geometry(levels, spec)


def _levels(voxels: Voxels, count: int) -> tuple[list[Level], list[Tensor], int]:
    """`count` levels with parents and children [V + 1, 8], their codes, and the largest coordinate."""
    shifts = range(1, count)
    changes = torch.ones(count - 1, len(voxels.code), dtype=torch.bool, device=voxels.code.device)
    for row, shift in enumerate(shifts):
        cell = voxels.code >> (3 * shift)
        torch.ne(cell[1:], cell[:-1], out=changes[row, 1:])
    per_cloud = torch.zeros(count, voxels.clouds, dtype=torch.int64, device=voxels.code.device)
    per_cloud[0].index_add_(0, voxels.batch, torch.ones_like(voxels.batch))  # bincount would wait for the device
    for row in range(len(shifts)):
        per_cloud[row + 1].index_add_(0, voxels.batch, changes[row].long())
    sizes = torch.cat([per_cloud.flatten(), voxels.grid.amax().view(1)]).tolist()  # the one wait for the device
    extent = sizes.pop()
    counts = [sizes[i * voxels.clouds : (i + 1) * voxels.clouds] for i in range(count)]

    levels = [Level(voxels.grid, voxels.batch, counts[0])]
    codes = [voxels.code]
    index = torch.arange(len(voxels.code), device=voxels.code.device)  # level-0 voxel -> voxel of the level above
    heads = index
    for row, shift in enumerate(shifts):
        index_next = torch.cumsum(changes[row], 0) - 1
        fine = levels[-1]
        fine.parents = index_next.index_select(0, heads)
        heads = _positions(changes[row], index_next, sum(counts[shift]))
        coarse = Level(voxels.grid.index_select(0, heads) >> shift, voxels.batch.index_select(0, heads), counts[shift])
        coarse.children = torch.full((len(coarse) + 1, 8), len(fine), dtype=torch.int32, device=heads.device)
        places = fine.parents * 8 + octant(fine.grid)
        own = torch.arange(len(fine), dtype=torch.int32, device=heads.device)
        coarse.children.view(-1).scatter_(0, places, own)
        levels.append(coarse)
        codes.append((voxels.code >> (3 * shift)).index_select(0, heads))
    return levels, codes, extent


def _levels_by_kernels(voxels: Voxels, count: int, kernels: gpu.Kernels) -> tuple[list[Level], list[Tensor], int]:
    """As _levels, for one cloud, in a few launches."""
    begins = kernels.geometry.boundaries(voxels.code, count - 1)
    rank = torch.empty(begins.shape, dtype=torch.int64, device=begins.device)
    for row in range(count - 1):  # one by one: of few long rows together, torch sums each by one block of threads
        torch.cumsum(begins[row], 0, out=rank[row])
    *sizes, extent = torch.cat([rank[:, -1], voxels.grid.amax().view(1)]).tolist()  # the one wait for the device
    levels, codes = [Level(voxels.grid, voxels.batch, [len(voxels.code)])], [voxels.code]
    for number, size in enumerate(sizes):
        fine = levels[-1]
        fine.parents, children, grid, code = kernels.geometry.coarsen(
            voxels.grid, voxels.code, rank, number, len(fine), size
        )
        levels.append(Level(grid, voxels.batch[:size], [size], children=children))
        codes.append(code)
    return levels, codes, extent


def _add_neighbors(levels: list[Level], codes: list[Tensor], spec: GeometrySpec) -> None:
    """Fill in neighbours, coarsest level first, since each level's come from the level above."""
    pairs_only = spec.tables == "pairs"
    for number in reversed(range(len(levels))):
        level, wanted = levels[number], spec.levels[number].kernel_sizes
        top = number == len(levels) - 1
        finer_descends = any(finer.kernel_sizes for finer in spec.levels[:number])  # through this level's 3x3x3 table
        needs_table = finer_descends or (3 in wanted and not pairs_only)
        table = None
        if top and (needs_table or 3 in wanted):
            table = neighbors_by_search(level.grid, level.batch, _rebase(codes[number], level.batch, number), 3)
        elif needs_table:
            table = _descend(levels, number, 3)
        if table is not None:
            level.neighbors[3] = table
        for size in wanted:
            if not pairs_only and size != 3:
                level.neighbors[size] = (
                    neighbors_by_search(level.grid, level.batch, _rebase(codes[number], level.batch, number), size)
                    if top
                    else _descend(levels, number, size)
                )
            if pairs_only:
                level.pairs[size] = pairs_from_half(_half(levels, codes, number, size))
    if pairs_only:
        for level in levels:
            level.neighbors = {}


def _half(levels: list[Level], codes: list[Tensor], number: int, size: int) -> Tensor:
    level = levels[number]
    centre = size**3 // 2
    if size == 3 and 3 in level.neighbors:
        return level.neighbors[3][:, :centre]
    if number == len(levels) - 1:
        code = _rebase(codes[number], level.batch, number)
        return neighbors_by_search(level.grid, level.batch, code, size)[:, :centre]
    return _descend(levels, number, size, half=True)


def _descend(levels: list[Level], number: int, size: int, half: bool = False) -> Tensor:
    level, above = levels[number], levels[number + 1]
    assert level.parents is not None
    assert above.children is not None
    above_neighbors = above.neighbors[3]
    return neighbors_by_descent(above_neighbors, level.parents, level.grid, above.children, size, half)


def _positions(mask: Tensor, rank: Tensor, size: int) -> Tensor:
    """Positions of the `size` set entries, of which `rank` is the running number: nonzero() without waiting for it."""
    positions = rank.new_empty(size + 1)  # the last place takes what is not set
    positions.scatter_(0, torch.where(mask, rank, size), torch.arange(len(mask), device=mask.device))
    return positions[:size]


def _rebase(code: Tensor, batch: Tensor, shift: int) -> Tensor:
    """Codes of a coarse level with the cloud's number back above bit 48."""
    own = (1 << (3 * (MAX_DEPTH - shift))) - 1
    return (code & own) | (batch << (3 * MAX_DEPTH))


def _curve_order(level: Level, order: str, depth: int) -> Tensor:
    """Voxels int64 [V] in the order of a curve, clouds one after the other."""
    if order == "z":
        return torch.arange(len(level), device=level.grid.device)  # as they are stored
    code = encode(level.grid, order, depth)
    if len(level.counts) > 1:
        code |= level.batch << (3 * MAX_DEPTH)
    return torch.argsort(code)
