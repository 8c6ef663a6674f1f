# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""From scans to what a network trains on: collate on the host, then voxels, labels and geometry on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srkd_ros.errors import DataError
from srkd_ros.geometry import Geometry, GeometrySpec, Level, Voxels, build_geometry
from srkd_ros.labels import UNLABELLED
from srkd_ros.preprocess import network_input
from srkd_ros.student import Preprocessing
from srkd_train.datasets import Scan


@dataclass
class RawBatch:
    """The points of B scans, one after the other, as the files have them (intensity scaled to 0..1)."""

    xyz: Tensor  # float32 [N, 3], metres, sensor frame
    intensity: Tensor | None  # float32 [N], 0..1; None if no scan has it
    labels: Tensor  # uint8 [N]
    batch: Tensor  # int64 [N], scan of each point
    scans: int
    keys: list[tuple[int, int, int]]  # (seed, epoch, index) of each scan: all that augmentation depends on
    names: list[str]
    seed: int  # of the draws that concern the batch as a whole
    extra: dict[str, Tensor] = field(default_factory=dict)  # float32 [N] each

    def to(self, device: torch.device | str, **kwargs: Any) -> RawBatch:
        def move(x: Tensor) -> Tensor:
            return x.to(device, non_blocking=True)

        return self.replace(
            xyz=move(self.xyz),
            intensity=None if self.intensity is None else move(self.intensity),
            labels=move(self.labels),
            batch=move(self.batch),
            extra={k: move(v) for k, v in self.extra.items()},
        )

    def pin_memory(self) -> RawBatch:
        return self.replace(xyz=self.xyz.pin_memory(), labels=self.labels.pin_memory(), batch=self.batch.pin_memory())

    def rows(self, start: int, end: int) -> RawBatch:
        """The points from `start` to `end`: one scan of the batch."""
        return self.replace(
            xyz=self.xyz[start:end],
            intensity=None if self.intensity is None else self.intensity[start:end],
            labels=self.labels[start:end],
            batch=self.batch[start:end],
            extra={k: v[start:end] for k, v in self.extra.items()},
        )

    def replace(self, **changes: Any) -> RawBatch:
        return dataclasses.replace(self, **changes)


@dataclass
class Batch:
    """A network's view of a batch: K points kept of N, in V voxels, with labels for both."""

    original: RawBatch  # before augmentation
    raw: RawBatch  # after augmentation: the same points in the same order
    kept: Tensor  # int64 [K], rows of raw
    voxels: Voxels  # of the kept points
    features: Tensor  # float32 [V, C]
    geometry: Geometry
    labels: Tensor  # int64 [V], most frequent label of a voxel's points; 255 without any

    @property
    def scans(self) -> int:
        return self.voxels.clouds

    @property
    def point_xyz(self) -> Tensor:
        """float32 [K, 3]"""
        return self.raw.xyz.index_select(0, self.kept)

    @property
    def counts(self) -> Tensor:
        """int64 [V], points in each voxel."""
        return torch.bincount(self.voxels.point_to_voxel, minlength=len(self.voxels.code))


def collate(
    scans: Sequence[Scan], intensity_scales: Sequence[float], keys: Sequence[tuple[int, int, int]], seed: int
) -> RawBatch:
    """Concatenate scans. `intensity_scales[i]` is the raw intensity of scan i that counts as 1.0."""
    has_intensity = any(s.intensity is not None for s in scans)
    names = set.intersection(*(set(s.extra) for s in scans)) if scans else set()
    sizes = [len(s.xyz) for s in scans]
    intensity = [
        np.zeros(len(s.xyz), np.float32) if s.intensity is None else s.intensity / np.float32(scale)
        for s, scale in zip(scans, intensity_scales, strict=True)
    ]
    labels = [np.full(len(s.xyz), UNLABELLED, np.uint8) if s.labels is None else s.labels for s in scans]
    return RawBatch(
        xyz=_joined([s.xyz for s in scans], np.float32),
        intensity=_joined(intensity, np.float32) if has_intensity else None,
        labels=_joined(labels, np.uint8),
        batch=torch.repeat_interleave(torch.arange(len(scans)), torch.tensor(sizes)),
        scans=len(scans),
        keys=list(keys),
        names=[s.name for s in scans],
        seed=seed,
        extra={name: _joined([s.extra[name] for s in scans], np.float32) for name in sorted(names)},
    )


def _joined(arrays: list[np.ndarray], dtype: type) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays).astype(dtype, copy=False))


def prepare(raw: RawBatch, preprocessing: Preprocessing, spec: GeometrySpec, original: RawBatch | None = None) -> Batch:
    """Range mask, voxels, features, voxel labels and geometry, on the batch's device.

    `raw` is the batch after augmentation, `original` before. DataError if not one point is left.
    """
    given = network_input(raw.xyz, raw.intensity, preprocessing, raw.extra, raw.batch, raw.scans)
    if len(given.kept) == 0:
        raise DataError(
            f"{', '.join(raw.names)}: no point lies within {preprocessing.min_range} to {preprocessing.max_range} m"
        )
    labels = majority(raw.labels.index_select(0, given.kept).long(), given.voxels)
    return Batch(
        original or raw, raw, given.kept, given.voxels, given.features, build_geometry(given.voxels, spec), labels
    )


def only_voxels(batch: Batch, rows: Tensor) -> Batch:
    """The batch as if voxels `rows` int64, ascending, and their points were all. Only the finest level is left."""
    old = batch.voxels
    row_of_voxel = rows.new_full((len(old.code),), -1)
    row_of_voxel[rows] = torch.arange(len(rows), device=rows.device)
    voxel = row_of_voxel.index_select(0, old.point_to_voxel)
    points = (voxel >= 0).nonzero().squeeze(1)
    place = (voxel >= 0).cumsum(0) - 1  # of each point among those that are left
    voxels = Voxels(
        grid=old.grid.index_select(0, rows),
        batch=old.batch.index_select(0, rows),
        code=old.code.index_select(0, rows),
        point_to_voxel=voxel.index_select(0, points),
        first_point=place.index_select(0, old.first_point.index_select(0, rows)),
        points=old.points.index_select(0, rows),
        clouds=old.clouds,
    )
    level = Level(voxels.grid, voxels.batch, torch.bincount(voxels.batch, minlength=voxels.clouds).tolist())
    return dataclasses.replace(
        batch,
        kept=batch.kept.index_select(0, points),
        voxels=voxels,
        features=batch.features.index_select(0, rows),
        geometry=Geometry([level], batch.geometry.spec),
        labels=batch.labels.index_select(0, rows),
    )


def majority(labels: Tensor, voxels: Voxels) -> Tensor:
    """Most frequent label int64 [V] among the labelled points of each voxel (the lowest on a tie); 255 without any.

    labels int64 [K] in 0..255. One sort, whatever the number of classes.
    """
    known = (labels != UNLABELLED).nonzero().squeeze(1)
    key = voxels.point_to_voxel.index_select(0, known) * 256 + labels.index_select(0, known)
    key, count = torch.unique_consecutive(key.sort().values, return_counts=True)
    best = labels.new_zeros(len(voxels.code))
    best.scatter_reduce_(0, key >> 8, (count << 8) | (255 - (key & 255)), "amax")
    return torch.where(best > 0, 255 - (best & 255), UNLABELLED)
