# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Geometry against brute force: dictionaries and loops in numpy and plain Python."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srkd_ros.geometry import GeometrySpec, LevelSpec, build_geometry, voxel_mean, voxelize, voxels_from_grid
from srkd_ros.geometry.curves import encode, hilbert, z_order
from srkd_ros.geometry.neighbors import offsets
from srkd_ros.geometry.patches import make_patches
from srkd_ros.network.config import CURVE_ORDERS

pytestmark = pytest.mark.usefixtures("either_way")


def random_grid(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, size, (count, 3)))


def hilbert_by_the_book(cell: list[int], bits: int) -> int:
    """Skilling's AxesToTranspose, as printed in AIP Conf. Proc. 707, one point and one bit at a time."""
    x = list(cell)
    m = 1 << (bits - 1)
    q = m
    while q > 1:
        p = q - 1
        for i in range(3):
            if x[i] & q:
                x[0] ^= p
            else:
                t = (x[0] ^ x[i]) & p
                x[0] ^= t
                x[i] ^= t
        q >>= 1
    for i in range(1, 3):
        x[i] ^= x[i - 1]
    t = 0
    q = m
    while q > 1:
        if x[2] & q:
            t ^= q - 1
        q >>= 1
    x = [v ^ t for v in x]
    code = 0
    for bit in reversed(range(bits)):
        for v in x:
            code = (code << 1) | ((v >> bit) & 1)
    return code


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 8, 11, 16])
def test_hilbert_is_skillings(depth):
    grid = random_grid(200, 1 << depth)
    expected = [hilbert_by_the_book(cell, depth) for cell in grid.tolist()]
    assert hilbert(grid, depth).tolist() == expected


def test_hilbert_visits_neighbours_in_turn():
    depth = 3
    grid = torch.cartesian_prod(*[torch.arange(1 << depth)] * 3)
    path = grid[hilbert(grid, depth).argsort()]
    assert (path.diff(dim=0).abs().sum(1) == 1).all()


def test_z_order_interleaves_bits():
    for x, y, z in random_grid(100, 1 << 16).tolist():
        expected = sum(
            (((x >> i) & 1) << (3 * i + 2)) | (((y >> i) & 1) << (3 * i + 1)) | (((z >> i) & 1) << (3 * i))
            for i in range(16)
        )
        assert z_order(torch.tensor([[x, y, z]])).item() == expected


@pytest.mark.parametrize("order", CURVE_ORDERS)
def test_coarser_codes_are_prefixes(order):
    """A coarse level's curve is the fine one's with the last three bits cut: what lets levels share an order."""
    grid = random_grid(500, 1 << 9)
    assert torch.equal(encode(grid, order, 9) >> 3, encode(grid >> 1, order, 8))


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(0.03, 3.0))
@settings(max_examples=40, deadline=None)
def test_voxelize_matches_a_dictionary(seed, count, size):
    xyz = np.random.default_rng(seed).normal(0, 5, (count, 3)).astype(np.float32)
    voxels = voxelize(torch.from_numpy(xyz), size)
    cell = np.floor(xyz.astype(np.float64) / size).astype(np.int64)
    cell -= cell.min(0)
    members: dict[tuple, list[int]] = {}
    for i, c in enumerate(map(tuple, cell)):
        members.setdefault(c, []).append(i)
    assert len(voxels.code) == len(members)
    assert (voxels.code.diff() > 0).all()
    mean = voxel_mean(torch.from_numpy(xyz), voxels).numpy()
    for v, c in enumerate(map(tuple, voxels.grid.tolist())):
        assert voxels.first_point[v] == members[c][0]
        assert sorted((voxels.point_to_voxel == v).nonzero().flatten().tolist()) == members[c]
        assert voxels.points[v] == len(members[c])
        np.testing.assert_allclose(mean[v], xyz[members[c]].mean(0), rtol=1e-4, atol=1e-5)


def batched(counts=(300, 1, 40), size=24):
    grids = [random_grid(n, size, seed) for seed, n in enumerate(counts)]
    batch = torch.cat([torch.full((n,), b) for b, n in enumerate(counts)])
    return voxels_from_grid(torch.cat(grids), batch, len(counts))


@pytest.mark.parametrize("tables", ["neighbors", "pairs"])
def test_levels_match_brute_force(tables):
    voxels = batched()
    levels = 4
    spec = GeometrySpec((LevelSpec((3, 5)),) + (LevelSpec((3,)),) * (levels - 1), tables=tables)
    geometry = build_geometry(voxels, spec)
    for number, level in enumerate(geometry.levels):
        cells = list(map(tuple, torch.cat([level.batch[:, None], level.grid], 1).tolist()))
        index = {c: i for i, c in enumerate(cells)}
        assert len(index) == len(cells) == sum(level.counts)
        fine = {
            (b, x >> number, y >> number, z >> number)
            for b, (x, y, z) in zip(voxels.batch.tolist(), voxels.grid.tolist(), strict=True)
        }
        assert set(cells) == fine
        if level.parents is not None:
            above = geometry.levels[number + 1]
            for i, (b, x, y, z) in enumerate(cells):
                parent = int(level.parents[i])
                assert (above.batch[parent], *above.grid[parent].tolist()) == (b, x >> 1, y >> 1, z >> 1)
                if tables == "neighbors":
                    assert above.children[parent, ((x & 1) << 2) | ((y & 1) << 1) | (z & 1)] == i
            assert tables == "pairs" or (above.children < len(level)).sum() == len(level)
        for size in spec.levels[number].kernel_sizes:
            shifts = offsets(size).tolist()
            table = np.array(
                [[index.get((b, x + dx, y + dy, z + dz), len(level)) for dx, dy, dz in shifts] for b, x, y, z in cells]
            )
            if tables == "neighbors":
                assert level.neighbors[size].dtype == torch.int32
                assert np.array_equal(level.neighbors[size].numpy(), table)
            else:
                pairs = level.pairs[size]
                k = np.repeat(np.arange(size**3 // 2), pairs.counts)
                got = set(zip(k.tolist(), pairs.source.tolist(), pairs.target.tolist(), strict=True))
                half = table[:, : size**3 // 2]
                v, k = np.nonzero(half < len(level))
                assert got == set(zip(k.tolist(), half[v, k].tolist(), v.tolist(), strict=True))


def padding_by_loops(order: list[int], counts: list[int], patch: int) -> list[list[int]]:
    """PTv3's rule, cloud by cloud: the last patch is filled up with the voxels one patch earlier."""
    rows, start = [], 0
    for n in counts:
        own = order[start : start + n]
        start += n
        if n > patch:
            padded = list(range(n)) + [i - patch for i in range(n, -(-n // patch) * patch)]
            rows += [[own[i] for i in padded[r : r + patch]] for r in range(0, len(padded), patch)]
        elif n:
            rows.append(own)
    return rows


@given(st.lists(st.integers(0, 70), min_size=1, max_size=4), st.integers(1, 24), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_patches_follow_the_padding_rule(counts, patch, seed):
    total = sum(counts)
    if total == 0:
        return
    generator = np.random.default_rng(seed)
    order, start = [], 0
    for n in counts:
        order += (start + generator.permutation(n)).tolist()
        start += n
    patches = make_patches(torch.tensor(order), counts, patch)
    rows = padding_by_loops(order, counts, patch)
    assert len(rows) == len(patches.table)
    for row, table in zip(rows, patches.table.tolist(), strict=True):
        assert table == row + [total] * (len(table) - len(row))
    filled = patches.table < total
    assert filled.all() if patches.mask is None else torch.equal(patches.mask, filled)
    assert torch.equal(patches.table.flatten()[patches.slot], torch.arange(total))


def test_curve_orders_sort_each_cloud():
    voxels = batched()
    orders = CURVE_ORDERS
    geometry = build_geometry(
        voxels, GeometrySpec((LevelSpec(()), LevelSpec((), orders)), patch_size=16, curve_depth="cloud")
    )
    level = geometry.levels[1]
    depth = int(voxels.grid.max() + 1).bit_length() - 1
    for order in orders:
        rank = torch.empty(len(level), dtype=torch.long)
        slots = level.patches[order].slot.argsort()
        rank[slots] = torch.arange(len(level))
        code = encode(level.grid, order, depth) | (level.batch << 48)
        assert torch.equal(code.argsort().argsort(), rank)


@pytest.mark.parametrize("clouds", [1, 2])
def test_points_far_beyond_the_codes_fall_into_the_outermost_cell(clouds):
    xyz = torch.tensor([[0.0, 0.0, 0.0], [3e38, 0.0, 0.0], [20_000.0, 0.0, 0.0]])
    batch = None if clouds == 1 else torch.zeros(3, dtype=torch.int64)
    voxels = voxelize(xyz, 0.2, batch, clouds)
    assert voxels.grid[:, 0].tolist() == [0, 65535]
    assert voxels.point_to_voxel.tolist() == [0, 1, 1]
