# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""From points to the network's input: range mask, features, voxels. The same code in training and on the robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from srkd_ros.errors import CloudError
from srkd_ros.geometry import Voxels, voxel_mean, voxelize
from srkd_ros.student import Preprocessing

_BRIGHTEST = 100.0  # times full scale


@dataclass
class NetworkInput:
    """K of N points kept, their voxels, and the voxels' features."""

    kept: Tensor  # int64 [K], indices of the points that are finite and within range
    voxels: Voxels  # of the kept points
    features: Tensor  # float32 [V, C], in the order of Preprocessing.features


def keep_mask(xyz: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bool [N]: points [N, 3] that are finite and between min_range and max_range (both inclusive) of the origin."""
    squared = (xyz * xyz).sum(1)  # not finite compares false
    return (squared >= preprocessing.min_range**2) & (squared <= preprocessing.max_range**2)


def network_input(
    xyz: Tensor,
    intensity: Tensor | None,
    preprocessing: Preprocessing,
    extra: Mapping[str, Tensor] | None = None,
    batch: Tensor | None = None,
    clouds: int = 1,
    intensity_default: float = 0.0,
) -> NetworkInput:
    """Points float32 [N, 3] (metres, sensor frame), intensity float32 [N] in 0..1, and other features [N] by name.

    `batch` int64 [N] is the cloud of each point. A cloud without intensity gets `intensity_default`. Features that are
    not finite count as 0, and intensity ends at +-100: one garbled return must not drown a whole attention patch.
    CloudError if another feature of the model is not given.
    """
    kept = keep_mask(xyz, preprocessing).nonzero().squeeze(1)
    points = xyz.index_select(0, kept)
    batch = None if batch is None else batch.index_select(0, kept)
    voxels = voxelize(points, preprocessing.voxel_size, batch, clouds)

    columns = []
    for name in preprocessing.features:
        if name in ("x", "y", "z"):
            columns.append(points[:, "xyz".index(name)])
        elif name == "intensity" and intensity is None:
            columns.append(points.new_full((len(points),), intensity_default))
        elif name == "intensity":
            given = torch.nan_to_num(intensity.index_select(0, kept), 0.0, 0.0, 0.0)  # type: ignore[union-attr]
            columns.append(given.clamp_(-_BRIGHTEST, _BRIGHTEST))
        elif extra is None or name not in extra:
            raise CloudError(f"the model needs the feature {name!r} of every point, and the cloud has none")
        else:
            columns.append(torch.nan_to_num(extra[name].index_select(0, kept), 0.0, 0.0, 0.0))
    values = torch.stack(columns, 1)
    if preprocessing.voxel_feature == "first":
        return NetworkInput(kept, voxels, values.index_select(0, voxels.first_point))
    return NetworkInput(kept, voxels, voxel_mean(values, voxels))
