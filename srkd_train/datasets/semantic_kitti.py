# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""SemanticKITTI, and everything in its layout: sequences/NN/velodyne/*.bin and labels/*.label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from srkd_ros.errors import DataError
from srkd_ros.labels import LabelSet
from srkd_train.datasets import Scan
from srkd_train.datasets.files import folder, label_set, names, read_labels, read_points

SPLITS = {
    "train": ["00", "01", "02", "03", "04", "05", "06", "07", "09", "10"],
    "val": ["08"],
    "test": [f"{i:02d}" for i in range(11, 22)],
}
"""SemanticKITTI's own split."""


class SemanticKittiDataset:
    """Scans float32 x y z intensity [N, 4] with labels uint32 [N], whose lower 16 bits are the raw id.

    `root` holds `sequences` (or `dataset/sequences`, as the download does), or is that folder, or one sequence. A file
    `dataset.yaml` in it may name the label set, the intensity scale and the sequences of each split.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | Sequence[str | int] = "train",
        labels: str | Path | LabelSet | None = None,
        intensity_scale: float | None = None,
    ) -> None:
        """`split`: train, val, test, all, or sequences ("00,05" or a list). A sequence without labels has none."""
        root = folder(root)
        self.sequences = _sequence_folders(root)
        about = _about(root)
        self.labels = label_set(labels or about.get("labels"), "semantickitti")
        self.intensity_scale = float(intensity_scale or about.get("intensity_scale") or 1.0)
        chosen = _chosen(root, split, list(self.sequences), {**SPLITS, **about.get("split", {})})
        self._labelled = {name: (self.sequences[name] / "labels").is_dir() for name in chosen}
        self._scans = [
            (name, file[:-4]) for name in chosen for file in names(self.sequences[name] / "velodyne", ".bin")
        ]
        if not self._scans:
            raise DataError(f"{root}: no velodyne/*.bin in the sequences {', '.join(chosen)}")

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, index: int) -> Scan:
        """DataError names a file that is missing, cut off, or of another length than its partner."""
        sequence, stem = self._scans[index]
        path = self.sequences[sequence]
        points = read_points(path / "velodyne" / f"{stem}.bin", 4)
        labels = None
        if self._labelled[sequence]:
            raw = read_labels(path / "labels" / f"{stem}.label", "<u4", len(points))
            labels = self.labels.from_raw(raw & 0xFFFF)  # the upper half is the instance
        return Scan(points[:, :3], points[:, 3], labels, f"{sequence}/{stem}")


def _sequence_folders(root: Path) -> dict[str, Path]:
    """Folders with a velodyne folder in them, by name."""
    if (root / "velodyne").is_dir():
        return {root.name: root}
    for place in (root / "sequences", root / "dataset" / "sequences", root):
        if place.is_dir():
            found = {name: place / name for name in names(place) if (place / name / "velodyne").is_dir()}
            if found:
                return found
    raise DataError(f"{root}: not in SemanticKITTI's layout; expected {root}/sequences/00/velodyne/*.bin")


def _about(root: Path) -> dict[str, Any]:
    path = root / "dataset.yaml"
    if not path.is_file():
        return {}
    try:
        about = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not YAML") from error
    if not isinstance(about, dict) or not isinstance(about.get("split", {}), dict):
        raise DataError(f"{path}: expected a mapping with labels, intensity_scale and split")
    return about


def _chosen(root: Path, split: Any, present: list[str], splits: dict[str, list[str]]) -> list[str]:
    if split == "all" or present == [root.name]:
        return present
    if split in list(splits):
        wanted = [str(name) for name in splits[split]]
        chosen = [name for name in wanted if name in present]  # a part of a download is a dataset, too
    else:
        wanted = split.split(",") if isinstance(split, str) else list(split)
        wanted = [f"{name:02d}" if isinstance(name, int) else str(name).strip() for name in wanted]
        unknown = [name for name in wanted if name not in present]
        if unknown:
            raise DataError(f"{root}: no split or sequence {unknown[0]!r}; it has {', '.join([*splits, *present])}")
        chosen = wanted
    if not chosen:
        raise DataError(f"{root}: none of the {split} sequences ({', '.join(wanted)}); it has {', '.join(present)}")
    return chosen
