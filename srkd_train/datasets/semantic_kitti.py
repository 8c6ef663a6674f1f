# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""SemanticKITTI, and everything in its layout: sequences/NN/velodyne/*.bin and labels/*.label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from srkd_ros.errors import DataError
from srkd_ros.labels import LabelSet
from srkd_train.datasets import Scan
from srkd_train.datasets.files import folder, is_intensity_scale, label_set, names, read_labels, read_points

SPLITS = {
    "train": ["00", "01", "02", "03", "04", "05", "06", "07", "09", "10"],
    "val": ["08"],
    "test": [f"{i:02d}" for i in range(11, 22)],
}
"""SemanticKITTI's own split."""


class SemanticKittiDataset:
    """Scans float32 x y z intensity [N, 4] with labels uint32 [N], whose lower 16 bits are the raw id.

    `root` holds `sequences` (or `dataset/sequences`, as the download does), or is that folder, or one sequence. A file
    `dataset.yaml` in it may name the label set, the intensity scale and the sequences of each split; DataError names
    its first entry that is wrong.
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
        own = about.get("labels")
        self.labels = label_set(labels or (LabelSet.load_beside(own, root) if own else None), "semantickitti")
        self.intensity_scale = float(intensity_scale or about.get("intensity_scale") or 1.0)
        self.files = self._choose(root, split, about.get("split") or {})
        chosen = {name for name, _ in self.files}
        self._labelled = {name: (self.sequences[name] / "labels").is_dir() for name in chosen}

    def _choose(self, root: Path, split: Any, own: dict[str, list], default: Mapping = SPLITS) -> list[tuple[str, str]]:
        """Sequence and stem of each scan. `own`: the splits of dataset.yaml."""
        chosen = _chosen(root, split, list(self.sequences), {**default, **own})
        scans = [(name, file[:-4]) for name in chosen for file in names(self.sequences[name] / "velodyne", ".bin")]
        if not scans:
            raise DataError(f"{root}: no velodyne/*.bin in the sequences {', '.join(chosen)}")
        return scans

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Scan:
        """DataError names a file that is missing, cut off, or of another length than its partner."""
        sequence, stem = self.files[index]
        path = self.sequences[sequence]
        points = read_points(path / "velodyne" / f"{stem}.bin", 4)
        labels = None
        if self._labelled[sequence]:
            raw = read_labels(path / "labels" / f"{stem}.label", "<u4", len(points))
            labels = self.labels.from_raw(raw & 0xFFFF)  # the upper half is the instance
        return Scan(points[:, :3], points[:, 3], labels, f"{sequence}/{stem}")


_ABOUT: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "labels": ("the name of a label set or a YAML file", lambda v: isinstance(v, str)),
    "intensity_scale": ("a number of 0 or more such as 255", is_intensity_scale),
    "split": ("a mapping of train, val or test to lists", lambda v: isinstance(v, dict)),
}
"""What the entries of dataset.yaml have to be; the lists of a split are looked at one by one."""


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not YAML") from error
    if not isinstance(about, dict):
        raise DataError(f"{path}: expected a mapping with labels, intensity_scale and split")
    for key, (said, holds) in _ABOUT.items():
        if about.get(key) is not None and not holds(about[key]):
            raise DataError(f"{path}: {key}: {about[key]!r} is not {said}")
    for name, sequences in (about.get("split") or {}).items():
        if not isinstance(sequences, list) or any(isinstance(s, (list, dict, bool)) for s in sequences):
            raise DataError(f'{path}: split: {name}: {sequences!r} is not a list of sequences such as ["00", "02"]')
    return about


def _chosen(root: Path, split: Any, present: list[str], splits: dict[str, list]) -> list[str]:
    if split == "all" or present == [root.name]:
        return present
    if split in list(splits):
        wanted = [_name(sequence, present) for sequence in splits[split]]
        chosen = [name for name in wanted if name in present]  # a part of a download is a dataset, too
    else:
        wanted = [_name(sequence, present) for sequence in (split.split(",") if isinstance(split, str) else split)]
        unknown = [name for name in wanted if name not in present]
        if unknown:
            known = ", ".join(map(str, [*splits, *present]))
            raise DataError(f"{root}: no split or sequence {unknown[0]!r}; it has {known}")
        chosen = wanted
    if not chosen:
        raise DataError(f"{root}: none of the {split} sequences ({', '.join(wanted)}); it has {', '.join(present)}")
    return chosen


def _name(sequence: Any, present: list[str]) -> str:
    """Of a sequence's folder. A number is that of any folder with this number: YAML makes one of an unquoted 00."""
    if isinstance(sequence, int):
        return next((name for name in present if name.isdecimal() and int(name) == sequence), f"{sequence:02d}")
    return str(sequence).strip()
