# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Reading the flat binary files that datasets consist of, and saying in one line what is wrong with one."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from srkd_ros.errors import DataError
from srkd_ros.labels import LabelSet


def folder(path: str | Path) -> Path:
    """`path` if it is a folder; DataError otherwise."""
    path = Path(path).expanduser()
    if not path.is_dir():
        raise DataError(f"{path}: {'not a folder' if path.exists() else 'no such folder'}")
    return path


def names(path: Path, suffix: str = "") -> list[str]:
    """Sorted names in a folder that end in `suffix`: of a hundred thousand files in a fraction of a second."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.name.endswith(suffix))


def read_points(path: Path, columns: int) -> np.ndarray:
    """A file of little-endian float32 rows, [N, columns]; DataError if it is not that, or has no finite point."""
    data = _read(path, np.dtype("<f4"), columns)
    points = data.reshape(-1, columns)
    if not np.isfinite(points[:, :3]).all(1).any():
        raise DataError(f"{path}: not one finite point in it")
    return points


def read_labels(path: Path, dtype: str, points: int) -> np.ndarray:
    """A file of one integer a point, [N]; DataError if their number is not that of the scan's points."""
    data = _read(path, np.dtype(dtype), 1)
    if len(data) != points:
        raise DataError(f"{path}: {len(data)} labels for {points} points")
    return data


def label_set(labels: str | Path | LabelSet | None, default: str) -> LabelSet:
    """A label set given as such, by shipped name, by YAML file, or not at all."""
    return labels if isinstance(labels, LabelSet) else LabelSet.load(labels or default)


def is_intensity_scale(value: Any) -> bool:
    """Whether a setting can be one: a finite number of 0 (not said) or more."""
    try:
        return not isinstance(value, bool) and 0 <= float(value) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def _read(path: Path, dtype: np.dtype, columns: int) -> np.ndarray:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    row = dtype.itemsize * columns
    if len(data) == 0 or len(data) % row:
        raise DataError(f"{path}: {len(data)} bytes, not a whole number of points of {row} bytes; copy it again")
    return data.view(dtype)
