# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What the relation terms look at: cylindrical supervoxels drawn by difficulty, and rows drawn from every scan."""

import math

import numpy as np
import pytest
import torch

from srkd_train.losses import sample_rows, sample_supervoxels

torch.set_num_threads(1)
CELL, EXTENT = (10.0, 45.0, 2.0), (50.0, 6.0)


def cloud(n: int = 4000, scans: int = 2, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    xyz = torch.rand(n, 3, generator=g) * torch.tensor([80.0, 80.0, 5.0]) - torch.tensor([40.0, 40.0, 2.0])
    batch = torch.randint(scans, (n,), generator=g)
    return xyz, batch, torch.randint(classes, (n,), generator=g)


def cell_of(point: np.ndarray) -> tuple[int, int, int]:
    x, y, z = (float(v) for v in point)
    sector = int((math.atan2(y, x) + math.pi) / math.radians(CELL[1]))
    return int(math.hypot(x, y) / CELL[0]), min(sector, 7), math.floor(z / CELL[2])


def test_members_share_a_cell_and_a_scan_and_weights_follow_the_equation():
    xyz, batch, classes = cloud()
    classes[classes == 3] = 255
    cells = sample_supervoxels(xyz, batch, classes, 3, CELL, EXTENT, count=10, size=500)
    assert cells.members.shape == (20, 500)
    everything: dict[tuple, list[int]] = {}
    for i in range(len(xyz)):
        everything.setdefault((int(batch[i]), *cell_of(xyz[i].numpy())), []).append(i)
    total = math.ceil(50 / 10) * 8 * math.ceil(6 / 2)
    seen = set()
    for row, weight in zip(cells.members, cells.weights, strict=True):
        rows = row[row < len(xyz)].tolist()
        key = (int(batch[rows[0]]), *cell_of(xyz[rows[0]].numpy()))
        assert sorted(rows) == everything[key]
        assert key not in seen
        seen.add(key)
        own = classes[rows]
        majority = int(torch.bincount(own[own < 3], minlength=3).argmax())
        tau = 1 - int((classes == majority).sum()) / len(classes)
        distance = float(np.linalg.norm(xyz[rows, :2].double().mean(0).numpy()))
        assert weight.item() == pytest.approx(tau / total * distance / 50, rel=1e-4)
    assert sum(key[0] == 0 for key in seen) == 10


def test_large_cells_keep_a_random_choice_and_small_ones_leave_slots_empty():
    xyz, batch, classes = cloud(300, scans=1)
    cells = sample_supervoxels(xyz, batch, classes, 4, CELL, EXTENT, count=1000, size=4)
    filled = (cells.members < len(xyz)).sum(1)
    assert filled.min() >= 2
    assert filled.max() == 4
    for row in cells.members:
        rows = row[row < len(xyz)].tolist()
        assert len(set(rows)) == len(rows)
        assert len({cell_of(xyz[i].numpy()) for i in rows}) == 1


def test_far_cells_and_rare_classes_are_drawn_more_often():
    # Four cells of ten points: near and far, common class 0 and rare class 1.
    points, labels = [], []
    for distance in (5.0, 45.0):
        for side, label in ((1.0, 0), (-1.0, 1)):
            points += [[distance, side * distance / 10, 0.1]] * (40 if label == 0 else 10)
            labels += [label] * (40 if label == 0 else 10)
    xyz, classes = torch.tensor(points), torch.tensor(labels)
    drawn = {"far": 0, "rare": 0}
    generator = torch.Generator().manual_seed(0)
    draws = 300
    for _ in range(draws):
        cells = sample_supervoxels(
            xyz, torch.zeros(len(xyz), dtype=torch.long), classes, 2, CELL, EXTENT, 1, 4, generator
        )
        first = cells.members[0, 0]
        drawn["far"] += int(xyz[first, 0] > 40)
        drawn["rare"] += int(classes[first] == 1)
    assert drawn["far"] / draws == pytest.approx(0.9, abs=0.06)  # distances 9 : 1
    assert drawn["rare"] / draws == pytest.approx(0.8, abs=0.07)  # tau 0.8 : 0.2


def test_the_same_generator_draws_the_same():
    xyz, batch, classes = cloud()
    first, second = (
        sample_supervoxels(xyz, batch, classes, 4, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(first.members, second.members)


def test_degenerate_clouds_give_no_cells():
    one = sample_supervoxels(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 2)
    assert one.members.shape == (0, 64)


def test_rows_come_from_their_own_scan_without_repetition_where_possible():
    batch = torch.tensor([0] * 50 + [1] * 7 + [2] * 30)[torch.randperm(87, generator=torch.Generator().manual_seed(1))]
    rows = sample_rows(batch, 3, 20, torch.Generator().manual_seed(2))
    assert rows.shape == (3, 20)
    for scan in range(3):
        assert (batch[rows[scan]] == scan).all()
    assert len(rows[0].unique()) == len(rows[2].unique()) == 20
    assert len(rows[1].unique()) == 7
