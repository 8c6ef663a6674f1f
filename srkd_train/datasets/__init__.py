# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What every dataset yields: a Scan. One file per dataset beside this one; open_dataset opens any of them by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from srkd_ros.errors import ConfigError
from srkd_ros.labels import LabelSet
from srkd_train.datasets.files import is_intensity_scale

KINDS = ("semantic_kitti", "nuscenes", "rellis3d", "scannet", "bag")

_OPTIONS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "labels": ("the name of a label set or a YAML file", lambda v: isinstance(v, (str, Path, LabelSet))),
    "intensity_scale": ("a number of 0 or more such as 255", is_intensity_scale),
    "features": ("true or false", lambda v: isinstance(v, int)),
    "version": ("the name of a folder", lambda v: isinstance(v, str)),
    "splits": ("a JSON file", lambda v: isinstance(v, (str, Path))),
    "topic": ("the name of a topic", lambda v: isinstance(v, str)),
    "intensity_field": ("the name of a field", lambda v: isinstance(v, str)),
    "on_corrupt": ("refuse or skip", lambda v: v in ("refuse", "skip")),
}
"""What the value of each option of some kind of dataset has to be."""


@dataclass
class Scan:
    """One LiDAR sweep in the sensor frame: x forward, y left, z up (REP 103)."""

    xyz: np.ndarray  # float32 [N, 3], metres
    intensity: np.ndarray | None  # float32 [N], as the sensor or the files give it, unscaled
    labels: np.ndarray | None  # uint8 [N], class ids of the dataset's label set, 255 ignored
    name: str
    extra: dict[str, np.ndarray] = field(default_factory=dict)  # float32 [N] each: red green blue (0..1), nx ny nz


class ScanDataset(Protocol):
    """An indexable set of scans. `intensity_scale` is the raw intensity that counts as 1.0.

    One made of files has `files` besides: what each scan is known by, hashable, in any split.
    """

    labels: LabelSet
    intensity_scale: float

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scan: ...


def open_dataset(
    kind: str,
    root: str | Path,
    split: str | list[str] = "train",
    /,  # an option of such a name is an unknown one
    on_bad: Literal["error", "skip"] = "error",
    **options: Any,
) -> ScanDataset:
    """A dataset by its kind (one of KINDS). `options`: further arguments of its class, such as labels or topic.

    A scan that cannot be read raises DataError when it is asked for, naming its file; with on_bad="skip" the next good
    one is given instead and `bad` counts it, and bags of a folder that cannot be read are left out. Before that,
    DataError says that `root` is missing or something else, and ConfigError that the kind or an option is unknown or
    not of its type; None is its default.
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
    known = [name for name in inspect.signature(opener).parameters if name in _OPTIONS]
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"a {kind} dataset has no option {name!r}; it has {', '.join(known)}")
        said, holds = _OPTIONS[name]
        if value is not None and not holds(value):
            raise ConfigError(f"data.options.{name}: {value!r} is not {said}")
    if on_bad not in ("error", "skip"):
        raise ConfigError(f"on_bad is {on_bad!r}; possible are 'error' and 'skip'")
    given = {name: value for name, value in options.items() if value is not None}
    if on_bad == "skip" and kind == "bag":
        given.setdefault("on_corrupt", "skip")
    dataset: ScanDataset = opener(root, split, **given)
    if on_bad == "skip":
        from srkd_train.datasets.combine import SkipBad

        return SkipBad(dataset)
    return dataset
