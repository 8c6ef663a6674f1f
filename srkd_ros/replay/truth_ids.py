# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The numbers of a truth: as class ids of a model, and whether they are those of the model's label set at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from srkd_ros import pointcloud2
from srkd_ros.errors import ConfigError, DataError
from srkd_ros.labels import UNLABELLED, LabelSet, available

ID_BINS = 1 << 16  # raw ids have 16 bits; the last bin also counts whatever is larger
UNKNOWN_LIMIT = 0.05  # share of the points whose ids mean no class; SemanticKITTI itself has some of these
_FITTING = 0.99  # share of the points whose ids a label set knows if they are its own
_NAMED = 6  # unknown ids that are listed, those of most points


def read_ids(message: Any, field: str, option: str) -> np.ndarray:
    """The field's ids [N] of any number type. DataError naming `option` if it holds numbers that are no ids."""
    values = pointcloud2.read_field(message, field)
    if values.ndim > 1:
        raise DataError(f"{option}: the field has {values.shape[1]} numbers a point, not one class id")
    if values.dtype.kind == "f":
        odd = values[np.isfinite(values) & (values != np.round(values))]
        if len(odd):
            raise DataError(f"{option}: the field holds numbers such as {odd[0]:.4g}: no class ids; name a label field")
    return values


def class_ids(values: np.ndarray, ids: str, labels: LabelSet) -> np.ndarray:
    """Truth values [N] of any number type to uint8 class ids of `labels`, 255 where the value means no class."""
    whole = _whole(values)
    if ids == "raw":
        return labels.from_raw(whole & 0xFFFF)  # above, SemanticKITTI keeps the instance
    known = (whole >= 0) & (whole < len(labels))
    return np.where(known, whole, UNLABELLED).astype(np.uint8)


def count_ids(values: np.ndarray, ids: str) -> np.ndarray:
    """int64 [ID_BINS]: how many points [N] have each id, without those of the id that says "no truth"."""
    whole = _whole(values)
    whole = whole[whole >= 0]
    whole = whole & 0xFFFF if ids == "raw" else np.minimum(whole, ID_BINS - 1)
    counts = np.bincount(whole.astype(np.int64), minlength=ID_BINS)
    counts[0 if ids == "raw" else UNLABELLED] = 0
    return counts


def describe_ids(counts: np.ndarray, ids: str, labels: LabelSet, own: LabelSet | None = None) -> dict[str, Any]:
    """What metrics.json says of count_ids: points with an id, points with one that `labels` does not know, the most
    frequent of these by id, and, where they are many, which other readings of the numbers know nearly all ids. `own`:
    the truth's label set. What it names and `labels`, made of its raw ids, leaves out is left out on purpose."""
    known = _known(ids, labels)
    if own is not None and ids == "raw" and labels.raw_ids <= own.raw_ids:
        known = known | _known(ids, own)
    unknown = np.where(known, 0, counts)
    most = [int(i) for i in np.argsort(-unknown, kind="stable")[:_NAMED] if unknown[i]]
    report: dict[str, Any] = {
        "points": int(counts.sum()),
        "unknown": int(unknown.sum()),
        "unknown_ids": {str(i): int(unknown[i]) for i in most},
        "fits": [],
    }
    if unknown.sum() > UNKNOWN_LIMIT * counts.sum():
        other = "class" if ids == "raw" else "raw"
        readings = {f"--truth-ids {other}": _known(other, labels)}
        readings |= {f"label set {name}": _known("raw", LabelSet.load(name)) for name in available()}
        shares = {name: counts[known].sum() / counts.sum() for name, known in readings.items()}
        report["fits"] = [name for name, share in shares.items() if share >= _FITTING]
    return report


def named_label_set(folder: Path) -> LabelSet | None:
    """The label set that the dataset.yaml of a folder's dataset names: in it, or up to three folders above. None: none,
    or none that can be had."""
    for place in (folder, *folder.resolve().parents[:3]):
        try:
            about = yaml.safe_load((place / "dataset.yaml").read_text())
            name = about.get("labels")
        except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError):
            continue
        try:
            return LabelSet.load_beside(name, place) if isinstance(name, str) else None
        except ConfigError:
            return None
    return None


def _whole(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "iu":
        return values
    finite = np.nan_to_num(values, nan=-1.0, posinf=-1.0, neginf=-1.0)
    return np.clip(finite, -1.0, 2.0**32).astype(np.int64)  # casts of larger numbers differ between processors


def _known(ids: str, labels: LabelSet) -> np.ndarray:
    """Bool [ID_BINS]: ids that mean a class, or that there is no truth."""
    every = np.arange(ID_BINS)
    if ids == "raw":
        return (labels.from_raw(every) != UNLABELLED) | (every == 0)
    return (every < len(labels)) | (every == UNLABELLED)
