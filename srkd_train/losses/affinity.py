# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""L_point and L_voxel (AMBRA): relations between the points, or voxels, within sampled cylindrical supervoxels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from srkd_train.losses.logits import full_precision, product

_LAYERS = 1024  # cells of height that a key has room for, half of them below the sensor


@dataclass
class Supervoxels:
    """S sampled supervoxels of a batch, with M slots each."""

    members: Tensor  # int64 [S, M], rows of the features; their number N where a slot is empty
    weights: Tensor  # float32 [S], w_i of eq. 5


def sample_supervoxels(
    xyz: Tensor,
    batch: Tensor,
    classes: Tensor,
    num_classes: int,
    cell: tuple[float, float, float] = (12.5, 60.0, 1.5),
    extent: tuple[float, float] = (50.0, 6.0),
    count: int = 16,
    size: int = 64,
    generator: torch.Generator | None = None,
) -> Supervoxels:
    """Cut every scan into cylindrical cells and draw `count` of each by difficulty (eq. 4 and 5).

    xyz float32 [N, 3] metres from the sensor, batch int64 [N] the scan of each row, classes int64 [N] (ground truth,
    or the teacher's where there is none; values of `num_classes` and more are ignored).
    cell = (R_v metres, A_v degrees, H_v metres); extent = (R, H) metres enters the equations only.

        N_v = ceil(R / R_v) ceil(360 / A_v) ceil(H / H_v)
        w_i = (tau_i / N_v) (D_i / R),   tau_i = 1 - C_current / C_total

    with D_i the distance in XY of the cell's centroid from the sensor, C_current the rows of the batch of the cell's
    most frequent class and C_total all rows: rare classes and far cells are drawn more often. Drawn without
    replacement with probability proportional to w_i. Cells of one row have no relation and are left out. A cell with
    more than `size` rows keeps a random choice of them (the paper truncates); with fewer, slots stay empty.
    The default cell is that of PVKD, the ancestor of the method; the paper gives neither cell nor count.
    """
    device, n = xyz.device, len(xyz)
    radius, angle, height = cell[0], math.radians(cell[1]), cell[2]
    sectors = math.ceil(2 * math.pi / angle)
    rings_total = math.ceil(extent[0] / radius) * sectors * math.ceil(extent[1] / height)
    xy_distance = torch.hypot(xyz[:, 0], xyz[:, 1])
    ring = (xy_distance / radius).long()
    sector = ((torch.atan2(xyz[:, 1], xyz[:, 0]) + math.pi) / angle).long().clamp_(0, sectors - 1)
    layer = torch.floor(xyz[:, 2] / height).long().add_(_LAYERS // 2).clamp_(0, _LAYERS - 1)
    rings = int(ring.max()) + 1 if n else 1
    key = ((batch * rings + ring) * sectors + sector) * _LAYERS + layer

    shuffled = torch.randperm(n, generator=generator, device=device)
    key, order = key.index_select(0, shuffled).sort(stable=True)
    order = shuffled.index_select(0, order)
    _, cell_of, cell_rows = torch.unique_consecutive(key, return_inverse=True, return_counts=True)
    cells = len(cell_rows)
    first = cell_rows.cumsum(0) - cell_rows

    sorted_classes = classes.index_select(0, order)
    known = sorted_classes < num_classes
    votes = torch.bincount(cell_of[known] * num_classes + sorted_classes[known], minlength=cells * num_classes).view(
        cells, num_classes
    )
    tau = 1 - votes.sum(0).to(torch.float32)[votes.argmax(1)] / max(n, 1)
    centroid = torch.zeros(cells, 2, device=device)
    centroid.index_add_(0, cell_of, xyz[:, :2].float().index_select(0, order))
    distance = torch.linalg.vector_norm(centroid / cell_rows[:, None], dim=1)
    weights = (tau / rings_total) * (distance / extent[0])

    # Gumbel's trick draws without replacement for all scans at once: the `count` highest log w + noise of each scan.
    noise = torch.rand(cells, generator=generator, device=device).clamp_(1e-20, 1 - 1e-7)
    score = weights.clamp_min(1e-20).log() - torch.log(-torch.log(noise))
    score = torch.where(cell_rows > 1, score, -torch.inf)
    scan = batch.index_select(0, order).index_select(0, first)
    ranking = score.argsort(descending=True)
    ranking = ranking.index_select(0, scan.index_select(0, ranking).argsort(stable=True))
    _, per_scan = torch.unique_consecutive(scan, return_counts=True)
    rank = torch.arange(cells, device=device) - torch.repeat_interleave(per_scan.cumsum(0) - per_scan, per_scan)
    drawn = ranking[(rank < count) & (score.index_select(0, ranking) > -torch.inf)]

    slots = torch.arange(size, device=device)
    places = first.index_select(0, drawn)[:, None] + slots
    filled = slots < cell_rows.index_select(0, drawn)[:, None]
    members = torch.where(filled, order[places.clamp_(max=max(n - 1, 0))], n)
    return Supervoxels(members, weights.index_select(0, drawn))


def affinity(
    student: Tensor,
    teacher: Tensor,
    supervoxels: Supervoxels,
    normalise: bool = True,
    weighting: str = "mean-one",
) -> Tensor:
    """L_point or L_voxel (eq. 6): squared difference of the affinity matrices, mean over the supervoxels.

        D(i, j, w) = w ||F^i - F^j||^2,     L = (1 / M^2) sum_ij (D_S(i, j, w) - D_T(i, j, w))^2

    student [N, C_s] and teacher [N, C_t] are features of the same N rows; widths may differ.

    Departures. `normalise` (default): features are first scaled to unit length, without which networks of different
    width or scale do not compare, and D = 2 - 2 cosine. The mean is over pairs of filled slots: with unit-length
    features an empty slot, zero in the paper, contributes nothing, so that only the divisor differs. `weighting`:
    "mean-one" divides the w_i by their mean, as w_i of about 1e-3 enters squared and would leave the term no gradient;
    "paper" takes them as they are, "none" takes one.
    """
    if weighting not in ("mean-one", "paper", "none"):
        raise ValueError(f"weighting: {weighting!r} is not one of mean-one, paper, none")
    members = supervoxels.members
    filled = members < len(student)
    weights = supervoxels.weights.to(student.device)
    if not len(members):
        return full_precision(student).sum() * 0
    if weighting == "none":
        weights = torch.ones_like(weights)
    elif weighting == "mean-one":
        weights = weights / weights.mean().clamp_min(1e-20)
    pairs = filled[:, :, None] & filled[:, None, :]
    difference = _distances(student, members, normalise) - _distances(teacher.detach(), members, normalise)
    difference = torch.where(pairs, difference, 0) * weights.to(difference.dtype)[:, None, None]
    per_cell = difference.square().sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)
    return per_cell.mean()


def _distances(features: Tensor, members: Tensor, normalise: bool) -> Tensor:
    """Squared distances [S, M, M] among the members of each supervoxel; rows of empty slots are arbitrary."""
    x = full_precision(features.index_select(0, members.clamp(max=len(features) - 1).view(-1)))
    x = F.normalize(x, dim=1) if normalise else x
    x = x.view(*members.shape, -1)
    length = x.square().sum(-1)
    return length[:, :, None] + length[:, None, :] - 2 * product(x, x.transpose(1, 2))
