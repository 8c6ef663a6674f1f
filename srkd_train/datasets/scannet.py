# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""ScanNet as Pointcept preprocesses it: a folder a room, an array a quantity; colour and normals are features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from srkd_ros.errors import DataError
from srkd_ros.labels import LabelSet
from srkd_train.datasets import Scan
from srkd_train.datasets.files import folder, label_set, names

NYU40_IDS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39, 0])
"""Raw id of each of the values 0 to 19 of segment20, and, last, of its -1 (not labelled)."""


class ScanNetDataset:
    """Rooms in root/{train,val,test}/sceneNNNN_NN: coord, color, normal [N, 3] and segment20 [N], as .npy.

    A room is no sweep: the files' origin is near a corner of its floor. Here it is the middle of x and y at the lowest
    z, as after Pointcept's CenterShift: rooms turn about themselves, and mixed ones overlap. Points are all around it,
    so a model's min_range has to be 0.
    """

    def __init__(
        self, root: str | Path, split: str = "train", labels: str | Path | LabelSet | None = None, features: bool = True
    ) -> None:
        """`features`: read colour (0..1) and normals into Scan.extra. Intensity there is none."""
        self.root = folder(root)
        self.labels = label_set(labels, "scannet20")
        self.intensity_scale = 1.0
        self.features = features
        splits = ("train", "val", "test") if split == "all" else (split,)
        self.files = [path / room for s in splits if (path := self.root / s).is_dir() for room in names(path)]
        if not self.files:
            raise DataError(f"{self.root}: no rooms in {'/, '.join(splits)}/; it has {', '.join(names(self.root)[:9])}")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Scan:
        """DataError names an array that is missing, damaged, without a point, or of another length than the others."""
        room = self.files[index]
        xyz = _centred(room / "coord.npy")
        extra = {}
        if self.features:
            color = np.asarray(_array(room / "color.npy", (len(xyz), 3)), np.float32) / np.float32(255)
            normal = np.asarray(_array(room / "normal.npy", (len(xyz), 3)), np.float32)
            extra = dict(zip(("red", "green", "blue", "nx", "ny", "nz"), [*color.T, *normal.T], strict=True))
        labels = None
        if (room / "segment20.npy").exists():
            segment = np.asarray(_array(room / "segment20.npy", (len(xyz),)), np.int64)
            known = (segment >= 0) & (segment < len(NYU40_IDS) - 1)
            labels = self.labels.from_raw(NYU40_IDS[np.where(known, segment, -1)])
        return Scan(xyz, None, labels, f"{room.parent.name}/{room.name}", extra)


def _centred(path: Path) -> np.ndarray:
    """Coordinates float32 [N, 3] from the middle of the room's floor."""
    xyz = np.asarray(_array(path, (-1, 3)), np.float32)
    finite = xyz[np.isfinite(xyz).all(1)]
    if not len(finite):
        raise DataError(f"{path}: not one finite point in it")
    low, high = finite.min(0), finite.max(0)
    return xyz - np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A memory-mapped array of this shape; -1 stands for any length but 0."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such array") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a whole .npy array ({' '.join(str(error).split())[:100]})") from error
    if len(shape) == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if len(array.shape) != len(shape) or 0 in array.shape:
        raise DataError(f"{path}: an array of shape {list(array.shape)}")
    if any(wanted not in (-1, got) for wanted, got in zip(shape, array.shape, strict=True)):
        raise DataError(f"{path}: an array of shape {list(array.shape)}; expected {list(shape)}")
    return array
