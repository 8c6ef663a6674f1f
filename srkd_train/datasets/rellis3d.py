# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""RELLIS-3D: off-road scans of an Ouster OS1-64, in its own layout or in SemanticKITTI's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srkd_ros.errors import DataError
from srkd_ros.labels import LabelSet
from srkd_train.datasets import Scan, ScanDataset
from srkd_train.datasets.files import folder, label_set, names, read_labels, read_points
from srkd_train.datasets.semantic_kitti import SPLITS as KITTI
from srkd_train.datasets.semantic_kitti import SemanticKittiDataset

_SCANS, _LABELS = "os1_cloud_node_kitti_bin", "os1_cloud_node_semantickitti_label_id"

SPLITS = {"train": ["00000", "00001", "00002"], "val": ["00003"], "test": ["00004"]}
"""Ours, of whole sequences, for SemanticKITTI's layout without RELLIS-3D's own lists."""


class Rellis3dDataset:
    """RELLIS-3D as downloaded: `pt_train.lst` and others beside the folders 00000 to 00004.

    A line of a list holds the paths of a scan (float32 x y z intensity) and of its labels (uint32), relative to `root`.
    Intensity is the sensor's 16-bit count divided by 65535, mostly below 0.01: with an intensity_scale of 1.0 a student
    sees what it will see of a driver that publishes counts.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        labels: str | Path | LabelSet | None = None,
        intensity_scale: float = 1.0,
    ) -> None:
        """`split`: train, val or test, by the lists; all, by the folders."""
        self.root = folder(root)
        self.labels = label_set(labels, "rellis3d")
        self.intensity_scale = float(intensity_scale)
        self.files = self._all() if split == "all" else _read_list(self.root, split)
        if not self.files:
            raise DataError(f"{self.root}: the split {split!r} has no scans")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Scan:
        """DataError names a file that is missing, cut off, or of another length than its partner."""
        scan, label = self.files[index]
        points = read_points(self.root / scan, 4)
        labels = None
        if label:
            labels = self.labels.from_raw(read_labels(self.root / label, "<u4", len(points)) & 0xFFFF)
        return Scan(points[:, :3], points[:, 3], labels, f"{Path(scan).parts[0]}/{Path(scan).stem}")

    def _all(self) -> list[tuple[str, str]]:
        scans = []
        for sequence in names(self.root):
            if (self.root / sequence / _SCANS).is_dir():
                labelled = (self.root / sequence / _LABELS).is_dir()
                for name in names(self.root / sequence / _SCANS, ".bin"):
                    label = f"{sequence}/{_LABELS}/{name[:-4]}.label" if labelled else ""
                    scans.append((f"{sequence}/{_SCANS}/{name}", label))
        return scans


class _KittiLayout(SemanticKittiDataset):
    """RELLIS-3D in SemanticKITTI's layout, its sequences under RELLIS names or others (SemanticKITTI's splits, then).

    The `pt_*.lst` beside `sequences` are the splits, or SPLITS where there is none; those of dataset.yaml come first.
    """

    def _choose(self, root: Path, split: Any, own: dict[str, list], default: Mapping = KITTI) -> list[tuple[str, str]]:
        named = any(name in self.sequences for sequences in SPLITS.values() for name in sequences)
        if not named or split in list(own):
            return super()._choose(root, split, own, default)
        if split not in list(SPLITS) or not any((root / f"pt_{name}.lst").is_file() for name in SPLITS):
            return super()._choose(root, split, own, SPLITS)
        listed = [(Path(scan).parts[0], Path(scan).stem) for scan, _ in _read_list(root, split)]
        scans = [(sequence, stem) for sequence, stem in listed if sequence in self.sequences]  # a part of a download
        if not scans:
            has = ", ".join(self.sequences)
            raise DataError(f"{root}/pt_{split}.lst: no scan of the sequences {has} in it")
        return scans


def _read_list(root: Path, split: str) -> list[tuple[str, str]]:
    """The paths of each scan of a split and of its labels."""
    path = root / f"pt_{split}.lst"
    if not path.is_file():
        raise DataError(f"{path}: no such list; download RELLIS-3D's LiDAR split file into {root}")
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) != 2:
            raise DataError(f"{path}: line {number} does not hold the two paths of a scan and its labels")
    return [(line[0], line[1]) for line in lines]


def open_rellis3d(
    root: str | Path,
    split: str = "train",
    labels: str | Path | LabelSet | None = None,
    intensity_scale: float = 1.0,
) -> ScanDataset:
    """RELLIS-3D in either layout: SemanticKITTI's where `root` holds `sequences`."""
    if (Path(root).expanduser() / "sequences").is_dir():
        return _KittiLayout(root, split, labels or "rellis3d", intensity_scale)
    return Rellis3dDataset(root, split, labels, intensity_scale)
