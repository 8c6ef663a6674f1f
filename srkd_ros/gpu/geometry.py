# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Levels, neighbours and curves in one launch each: on a GPU, torch's many small operations take their time to launch.

The integers are those of srkd_ros.geometry, which holds the definitions.
"""

# mypy: disable-error-code="valid-type,attr-defined"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from srkd_ros.gpu.launch import launch

_BLOCK = 256
_LOOKUPS = tl.constexpr(6)  # of the Hilbert automaton, three levels each: all that a code of 16 levels can need
_HALVINGS = tl.constexpr(32)  # of a search among less than 2**31 voxels


def _blocks(count: int, block: int = _BLOCK) -> tuple[int]:
    return (triton.cdiv(count, block),)


@triton.jit
def _spread(x):
    """The low 16 bits of an int64, three places apart."""
    x = (x | (x << 32)) & 0x1F00000000FFFF
    x = (x | (x << 16)) & 0x1F0000FF0000FF
    x = (x | (x << 8)) & 0x100F00F00F00F00F
    x = (x | (x << 4)) & 0x10C30C30C30C30C3
    return (x | (x << 2)) & 0x1249249249249249


@triton.jit
def _z_order(x, y, z):
    return (_spread(x) << 2) | (_spread(y) << 1) | _spread(z)


@triton.jit(do_not_specialize=["voxels", "state", "steps", "depth"])
def _curve_codes_kernel(grid, table, out, voxels, state, steps, depth, SWAP: tl.constexpr, BLOCK: tl.constexpr):
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = v < voxels
    row = grid + v.to(tl.int64) * 3
    x = tl.load(row, mask=live, other=0)
    y = tl.load(row + 1, mask=live, other=0)
    z = tl.load(row + 2, mask=live, other=0)
    morton = _z_order(y, x, z) if SWAP else _z_order(x, y, z)
    if steps > 0:
        code = morton * 0
        states = code + state
        for step in range(_LOOKUPS):
            left = _LOOKUPS - 1 - step
            entry = tl.load(table + ((states << 9) | ((morton >> (9 * left)) & 511)), mask=live, other=0)
            reads = left < steps
            code = tl.where(reads, (code << 9) | (entry & 511), code)
            states = tl.where(reads, entry >> 9, states)
        morton = code & ((1 << (3 * depth).to(tl.int64)) - 1)
    tl.store(out + v, morton, mask=live)


def curve_codes(grid: Tensor, table: Tensor | None, state: int, steps: int, depth: int, exchanged: bool) -> Tensor:
    """Codes int64 [V] of cells int64 [V, 3]: z-order where there is no `table`, else Hilbert's by the automaton of
    srkd_ros.geometry.curves, from `state` in `steps` look-ups, of `depth` bits an axis. `exchanged`: x and y are.
    """
    grid = grid.contiguous()
    out = grid.new_empty(len(grid))
    steps = 0 if table is None else steps
    given = (grid, grid if table is None else table, out, len(grid), state, steps, depth)
    return launch(_curve_codes_kernel, _blocks(len(grid)), out, *given, SWAP=exchanged, BLOCK=_BLOCK)


@triton.jit(do_not_specialize=["voxels"])
def _boundaries_kernel(code, out, voxels, BLOCK: tl.constexpr):
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = v < voxels
    shift = 3 * (tl.program_id(1) + 1)
    own = tl.load(code + v, mask=live, other=0) >> shift
    before = tl.load(code + v - 1, mask=live & (v > 0), other=-1) >> shift
    begins = (own != before) | (v == 0)
    tl.store(out + tl.program_id(1).to(tl.int64) * voxels + v, begins.to(tl.int8), mask=live)


def boundaries(code: Tensor, levels: int) -> Tensor:
    """Int8 [levels, V]: 1 where a voxel, by code int64 [V], ascending, is the first in its cell of level 1, 2, ..."""
    out = code.new_empty(levels, len(code), dtype=torch.int8)
    programs = (*_blocks(len(code)), levels)
    return launch(_boundaries_kernel, programs, out, code, out, len(code), BLOCK=_BLOCK)


@triton.jit(do_not_specialize=["voxels", "shift"])
def _coarsen_kernel(
    grid, code, ranks, parents, children, coarse_grid, coarse_code,
    voxels, shift, FINEST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = v < voxels
    # By the row's number: a pointer to it is aligned for some clouds and not for others, which takes two kernels.
    rank = ranks + shift.to(tl.int64) * voxels
    own = tl.load(rank + v, mask=live, other=0)
    begins = live & (own != tl.load(rank + v - 1, mask=live & (v > 0), other=0))
    if FINEST:
        fine = v.to(tl.int64)
        present = live
    else:
        fine_rank = rank - voxels
        fine = tl.load(fine_rank + v, mask=live, other=0)
        present = live & (fine != tl.load(fine_rank + v - 1, mask=live & (v > 0), other=0))
        fine = fine - 1
    parent = own - 1
    row = grid + v.to(tl.int64) * 3
    x = tl.load(row, mask=live, other=0) >> shift
    y = tl.load(row + 1, mask=live, other=0) >> shift
    z = tl.load(row + 2, mask=live, other=0) >> shift
    octant = ((x & 1) << 2) | ((y & 1) << 1) | (z & 1)
    tl.store(parents + fine, parent, mask=present)
    tl.store(children + parent * 8 + octant, fine.to(tl.int32), mask=present)
    tl.store(coarse_grid + parent * 3, x >> 1, mask=begins)
    tl.store(coarse_grid + parent * 3 + 1, y >> 1, mask=begins)
    tl.store(coarse_grid + parent * 3 + 2, z >> 1, mask=begins)
    tl.store(coarse_code + parent, tl.load(code + v, mask=begins, other=0) >> (3 * (shift + 1)), mask=begins)


def coarsen(
    grid: Tensor, code: Tensor, rank: Tensor, level: int, fine: int, coarse: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From level `level` of one cloud, with `fine` voxels, to the next with `coarse`.

    `grid` int64 [V, 3] and `code` int64 [V] are the finest level's; rank int64 [levels, V] is the running sum of
    `boundaries`. Returns the fine level's parents int64 [fine], the coarse level's children int32 [coarse + 1, 8], of
    which the last row and whatever is missing is `fine`, its grid int64 [coarse, 3] and its codes int64 [coarse].
    """
    parents, codes = grid.new_empty(fine), grid.new_empty(coarse)
    cells = grid.new_empty(coarse, 3)
    children = grid.new_full((coarse + 1, 8), fine, dtype=torch.int32)
    given = (grid, code, rank, parents, children, cells, codes, len(code), level)
    launch(_coarsen_kernel, _blocks(len(code)), codes, *given, FINEST=level == 0, BLOCK=_BLOCK)
    return parents, children, cells, codes


@triton.jit(do_not_specialize=["voxels"])
def _neighbors_kernel(
    parent_neighbors, parents, grid, children, direction, child, out,
    voxels, K: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k = tl.arange(0, WIDTH)
    live = v < voxels
    row = grid + v.to(tl.int64) * 3
    x = tl.load(row, mask=live, other=0)
    y = tl.load(row + 1, mask=live, other=0)
    z = tl.load(row + 2, mask=live, other=0)
    octant = ((x & 1) << 2) | ((y & 1) << 1) | (z & 1)
    parent = tl.load(parents + v, mask=live, other=0)
    both = live[:, None] & (k < K)[None, :]
    place = octant[:, None] * K + k[None, :]
    towards = tl.load(direction + place, mask=both, other=0)
    around = tl.load(parent_neighbors + parent[:, None] * 27 + towards, mask=both, other=0)
    found = tl.load(children + around.to(tl.int64) * 8 + tl.load(child + place, mask=both, other=0), mask=both, other=0)
    tl.store(out + v.to(tl.int64)[:, None] * K + k[None, :], found, mask=both)


def neighbors(
    parent_neighbors: Tensor, parents: Tensor, grid: Tensor, children: Tensor, direction: Tensor, child: Tensor
) -> Tensor:
    """See geometry.neighbors.neighbors_by_descent: int32 [V, K]. `parents` and `grid` are int64, the rest int32."""
    width = direction.shape[1]
    out = parents.new_empty(len(parents), width, dtype=torch.int32)
    given = [t.contiguous() for t in (parent_neighbors, parents, grid, children, direction, child)]
    block = 32 if width <= 32 else 8
    constants = {"K": width, "WIDTH": triton.next_power_of_2(width), "BLOCK": block}
    return launch(_neighbors_kernel, _blocks(len(parents), block), out, *given, out, len(parents), **constants)


@triton.jit(do_not_specialize=["voxels"])
def _search_kernel(
    grid,
    batch,
    code,
    out,
    voxels,
    REACH: tl.constexpr,
    K: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k = tl.arange(0, WIDTH)
    side: tl.constexpr = 2 * REACH + 1
    live = v < voxels
    row = grid + v.to(tl.int64) * 3
    x = tl.load(row, mask=live, other=0)[:, None] + (k // (side * side) - REACH)[None, :]
    y = tl.load(row + 1, mask=live, other=0)[:, None] + (k // side % side - REACH)[None, :]
    z = tl.load(row + 2, mask=live, other=0)[:, None] + (k % side - REACH)[None, :]
    both = live[:, None] & (k < K)[None, :]
    inside = both & (x >= 0) & (y >= 0) & (z >= 0) & (x < 65536) & (y < 65536) & (z < 65536)
    wanted = _z_order(x, y, z) | (tl.load(batch + v, mask=live, other=0) << 48)[:, None]
    low = tl.zeros((BLOCK, WIDTH), tl.int32)
    high = low + voxels
    for _ in range(_HALVINGS):
        middle = (low + high) >> 1
        open_ = inside & (low < high)
        after = tl.load(code + middle, mask=open_, other=0) < wanted
        low = tl.where(open_ & after, middle + 1, low)
        high = tl.where(open_ & (after == 0), middle, high)
    there = inside & (low < voxels)
    found = there & (tl.load(code + low, mask=there, other=0) == wanted)
    tl.store(out + v.to(tl.int64)[:, None] * K + k[None, :], tl.where(found, low, voxels), mask=both)


def search(grid: Tensor, batch: Tensor, code: Tensor, kernel_size: int) -> Tensor:
    """See geometry.neighbors.neighbors_by_search: int32 [V, K]."""
    width, voxels = kernel_size**3, len(code)
    out = code.new_empty(voxels, width, dtype=torch.int32)
    block = 32 if width <= 32 else 8
    given = (*(t.contiguous() for t in (grid, batch, code)), out, voxels)
    constants = {"REACH": kernel_size // 2, "K": width, "WIDTH": triton.next_power_of_2(width), "BLOCK": block}
    return launch(_search_kernel, _blocks(voxels, block), out, *given, **constants)


@triton.jit(do_not_specialize=["voxels", "width", "places"])
def _patches_kernel(order, table, slot, voxels, width, places, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    own = place < voxels
    voxel = tl.load(order + tl.where(own, place, place - width), mask=place < places, other=0)
    tl.store(table + place, voxel, mask=place < places)
    tl.store(slot + voxel, place.to(tl.int64), mask=own)


def patches(order: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """See geometry.patches.make_patches, for one cloud: of order int64 [V], table int64 [P, width], slot int64 [V]."""
    voxels = len(order)
    rows = triton.cdiv(voxels, width)
    table, slot = order.new_empty(rows, width), torch.empty_like(order)
    given = (order.contiguous(), table, slot, voxels, width, rows * width)
    launch(_patches_kernel, _blocks(rows * width), table, *given, BLOCK=_BLOCK)
    return table, slot
