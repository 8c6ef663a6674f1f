# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What every dataset yields: a Scan. One file per dataset beside this one; open_dataset opens any of them by name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from srkd_ros.errors import ConfigError
from srkd_ros.labels import LabelSet

KINDS = ("semantic_kitti", "nuscenes", "rellis3d", "scannet", "bag")


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


def open_dataset(
    kind: str,
    root: str | Path,
    split: str | list[str] = "train",
    on_bad: Literal["error", "skip"] = "error",
    **options: Any,
) -> ScanDataset:
    """A dataset by its kind (one of KINDS). `options`: further arguments of its class, such as labels or topic.

    A scan that cannot be read raises DataError when it is asked for, naming its file; with on_bad="skip" the next good
    one is given instead and `bad` counts it. Before that, DataError says that `root` is missing or something else, and
    ConfigError that the kind or an option is unknown.
    """
    opener: Any
    match kind:
        case "semantic_kitti":
            from srkd_train.datasets.semantic_kitti import SemanticKittiDataset

            opener = SemanticKittiDataset
        case "nuscenes":
            from srkd_train.datasets.nuscenes import NuScenesDataset

            opener = NuScenesDataset
        case "rellis3d":
            from srkd_train.datasets.rellis3d import open_rellis3d

            opener = open_rellis3d
        case "scannet":
            from srkd_train.datasets.scannet import ScanNetDataset

            opener = ScanNetDataset
        case "bag":
            from srkd_train.datasets.bags import BagDataset

            opener = BagDataset
        case _:
            raise ConfigError(f"no kind of dataset {kind!r}; there are {', '.join(KINDS)}")
    known = list(inspect.signature(opener).parameters)[2:]
    for name in options:
        if name not in known:
            raise ConfigError(f"a {kind} dataset has no option {name!r}; it has {', '.join(known)}")
    if on_bad not in ("error", "skip"):
        raise ConfigError(f"on_bad is {on_bad!r}; possible are 'error' and 'skip'")
    dataset: ScanDataset = opener(root, split, **options)
    if on_bad == "skip":
        from srkd_train.datasets.combine import SkipBad

        return SkipBad(dataset)
    return dataset
