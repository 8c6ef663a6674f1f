# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Augmentation of a batch of scans as tensor operations on the training device, reproducible from seeds alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from srkd_train.batches import RawBatch
from srkd_train.config import AugmentConfig


def augment(raw: RawBatch, config: AugmentConfig) -> RawBatch:
    """A changed copy of a batch; the points keep their order and number, except that those left out are not finite.

    What a scan undergoes follows from its own key (seed, epoch, index) and not from the batch it is in, so that resumed
    and distributed runs see the same scans. Jitter and drops are drawn on the device from the batch's seed.
    """
    device = raw.xyz.device
    draws = [_ScanDraw(key, config) for key in raw.keys]
    matrix = torch.tensor(np.stack([d.matrix for d in draws]), device=device)
    rows = raw.batch
    xyz = _turned(matrix, rows, raw.xyz)
    generator = torch.Generator(device).manual_seed(raw.seed)
    if config.shift_z:
        xyz[:, 2] += torch.tensor([d.shift for d in draws], device=device).index_select(0, rows)
    if config.jitter:
        noise = torch.randn(xyz.shape, generator=generator, device=device) * config.jitter
        xyz += noise.clamp_(-config.jitter_clip, config.jitter_clip)
    if config.drop:
        share = torch.tensor([d.drop for d in draws], device=device).index_select(0, rows)
        xyz[torch.rand(len(xyz), generator=generator, device=device) < share] = torch.nan
    if config.sector < 360:
        angle = torch.atan2(raw.xyz[:, 1], raw.xyz[:, 0]) * (180 / math.pi)
        first = torch.tensor([d.sector for d in draws], device=device).index_select(0, rows)
        xyz[torch.remainder(angle - first, 360) >= config.sector] = torch.nan
    intensity = raw.intensity
    if intensity is not None and config.intensity_gain:
        gain = torch.tensor([d.gain for d in draws], device=device)
        intensity = intensity * gain.index_select(0, rows)
    extra = dict(raw.extra)
    if "nx" in extra:
        normals = torch.stack([extra["nx"], extra["ny"], extra["nz"]], 1)
        extra["nx"], extra["ny"], extra["nz"] = _turned(_without_scale(matrix), rows, normals).unbind(1)
    scans = raw.scans
    if config.mix_prob and scans > 1 and np.random.default_rng([raw.seed, 1]).random() < config.mix_prob:
        rows, scans = rows // 2, (scans + 1) // 2
    return raw.replace(xyz=xyz, intensity=intensity, extra=extra, batch=rows, scans=scans)


def _turned(matrix: Tensor, rows: Tensor, vectors: Tensor) -> Tensor:
    """Vectors [N, 3] times the matrix [B, 3, 3] of their rows; no matrix product: autocast would halve it."""
    return (matrix.index_select(0, rows) * vectors[:, None, :]).sum(2)


class _ScanDraw:
    """The random choices for one scan."""

    def __init__(self, key: tuple[int, int, int], config: AugmentConfig) -> None:
        random = np.random.default_rng(key)
        angle = math.radians(random.uniform(-config.rotate_z, config.rotate_z))
        scale = random.uniform(*config.scale)
        flip_x, flip_y = np.where(random.random(2) < config.flip, -1.0, 1.0)
        turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
        self.matrix = (turn @ np.diag([flip_x, flip_y, 1.0]) * scale).astype(np.float32)
        self.shift = float(random.uniform(-config.shift_z, config.shift_z))
        self.drop = float(random.uniform(0, config.drop))
        self.sector = float(random.uniform(-180, 180))
        self.gain = float(1 + random.uniform(-config.intensity_gain, config.intensity_gain))


def _without_scale(matrix: Tensor) -> Tensor:
    return matrix / torch.linalg.vector_norm(matrix, dim=2, keepdim=True)
