# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What every dataset yields: a Scan. One file per dataset beside this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from srkd_ros.labels import LabelSet


@dataclass
class Scan:
    """One LiDAR sweep in the sensor frame: x forward, y left, z up (REP 103)."""

    xyz: np.ndarray  # float32 [N, 3], metres
    intensity: np.ndarray | None  # float32 [N], as the sensor or the files give it, unscaled
    labels: np.ndarray | None  # uint8 [N], class ids of the dataset's label set, 255 ignored
    name: str
    extra: dict[str, np.ndarray] = field(default_factory=dict)  # float32 [N] each: red green blue (0..1), nx ny nz


class ScanDataset(Protocol):
    """An indexable set of scans. `intensity_scale` is the raw intensity that counts as 1.0."""

    labels: LabelSet
    intensity_scale: float

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scan: ...
