# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""nuScenes-lidarseg from its JSON tables: the labelled keyframes of LIDAR_TOP, 32 categories merged into 16 classes."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from srkd_ros.errors import DataError
from srkd_ros.labels import LabelSet
from srkd_train.datasets import Scan
from srkd_train.datasets.files import folder, label_set, names, read_labels, read_points

_VAL_RANGES = (
    (3, 3), (12, 18), (35, 36), (38, 39), (92, 110), (221, 221), (268, 278), (329, 332), (344, 346),
    (519, 524), (552, 565), (625, 627), (629, 630), (632, 638), (770, 771), (775, 775), (777, 778),
    (780, 784), (794, 800), (802, 802), (904, 917), (919, 931), (962, 963), (966, 969), (971, 972),
    (1059, 1073),
)  # fmt: skip
VAL_SCENES = frozenset(f"scene-{i:04d}" for first, last in _VAL_RANGES for i in range(first, last + 1))
"""The 150 scenes of the official validation split; the other 700 of v1.0-trainval are the training split."""

MINI_VAL_SCENES = frozenset({"scene-0103", "scene-0916"})
"""The same of v1.0-mini, whose other 8 scenes are for training."""

_CHECKED = {"vehicle.car": 17, "flat.driveable_surface": 24, "static.vegetation": 30}  # category to lidarseg index


class NuScenesDataset:
    """Keyframes: float32 x y z intensity ring [N, 5] in samples/LIDAR_TOP, uint8 labels [N] in lidarseg.

    Points stay in the files' frame, that of LIDAR_TOP: x right, y forward, z up. Intensity runs from 0 to 255.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        labels: str | Path | LabelSet | None = None,
        version: str = "",
        splits: str | Path | None = None,
    ) -> None:
        """`split`: train, val, all, or test (in v1.0-test, without labels).

        `version`: the folder of tables, such as v1.0-mini; empty: the only one, or v1.0-trainval. `splits`: a JSON file
        {"train": [scene names], ...} to use in place of the official split.
        """
        self.root = folder(root)
        self.labels = label_set(labels, "nuscenes")
        self.intensity_scale = 255.0
        self.version = version or _version(self.root, split)
        tables = folder(self.root / self.version)
        scenes = _scenes(tables, split, self.version, splits)
        label_files = _label_files(tables, split)
        sample_scene = {
            s["token"]: scenes[s["scene_token"]] for s in _table(tables, "sample") if s["scene_token"] in scenes
        }
        self.files: list[tuple[str, str, str | None]] = []
        for record in _lidar_keyframes(tables / "sample_data.json"):
            scene = sample_scene.get(record["sample_token"])
            if scene is not None:
                self.files.append((f"{scene}/{record['token']}", record["filename"], label_files.get(record["token"])))
        self.files.sort(key=lambda scan: (scan[0].split("/")[0], scan[1]))  # file names carry the time
        if not self.files:
            raise DataError(f"{tables}: the split {split!r} has no keyframes of LIDAR_TOP")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Scan:
        """DataError names a file that is missing, cut off, or of another length than its partner."""
        name, scan, label = self.files[index]
        points = read_points(self.root / scan, 5)
        labels = None
        if label:
            labels = self.labels.from_raw(read_labels(self.root / label, "u1", len(points)))
        return Scan(points[:, :3], points[:, 3], labels, name)


def _version(root: Path, split: str) -> str:
    found = [name for name in names(root) if (root / name / "sample_data.json").is_file()]
    wanted = "v1.0-test" if split == "test" else "v1.0-trainval"
    if wanted in found:
        return wanted
    if len(found) == 1:
        return found[0]
    raise DataError(f"{root}: no tables of nuScenes; expected {root}/{wanted}/sample_data.json")


def _table(tables: Path, name: str) -> list[dict[str, Any]]:
    path = tables / f"{name}.json"
    try:
        records = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    return records


def _scenes(tables: Path, split: str, version: str, splits: str | Path | None) -> dict[str, str]:
    """Names of the split's scenes by token."""
    scenes = {s["token"]: s["name"] for s in _table(tables, "scene")}
    if splits is not None:
        given = _table(Path(splits).parent, Path(splits).stem)
        if not isinstance(given, dict) or split not in given:
            raise DataError(f"{splits}: has no list of scenes named {split!r}")
        return {token: name for token, name in scenes.items() if name in given[split]}
    if split in ("all", "test"):
        return scenes
    if split not in ("train", "val"):
        raise DataError(f"{tables}: no split {split!r}; there are train, val, test and all")
    val = MINI_VAL_SCENES if version.endswith("mini") else VAL_SCENES
    return {token: name for token, name in scenes.items() if (name in val) == (split == "val")}


def _label_files(tables: Path, split: str) -> dict[str, str]:
    """Label file by sample_data token; none in the test split."""
    if not (tables / "lidarseg.json").is_file():
        if split == "test":
            return {}
        raise DataError(f"{tables}/lidarseg.json: no such table; unpack nuScenes-lidarseg over the data set")
    index = {c["name"]: c.get("index") for c in _table(tables, "category")}
    for name, expected in _CHECKED.items():
        if name in index and index[name] != expected:
            raise DataError(
                f"{tables}/category.json: {name} has the index {index[name]} and not {expected}; unpack "
                f"nuScenes-lidarseg over the data set, it brings a category.json"
            )
    return {r["sample_data_token"]: r["filename"] for r in _table(tables, "lidarseg")}


def _lidar_keyframes(path: Path) -> Iterator[dict[str, Any]]:
    """Records of sample_data.json that are keyframes of LIDAR_TOP.

    The table has millions of records and 1.3 GB; those of the LiDAR are found by their file names and the others never
    parsed, which takes a second or two instead of gigabytes of memory. Records are flat: braces are theirs alone.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            at = text.find(b'"samples/LIDAR_TOP/')
            while at >= 0:
                end = text.find(b"}", at) + 1
                yield json.loads(text[text.rfind(b"{", 0, at) : end])
                at = text.find(b'"samples/LIDAR_TOP/', max(end, at + 1))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error})") from error
