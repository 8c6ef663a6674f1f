# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Test-time augmentation as Pointcept's tester does it: the published mIoU of PTv3 and LitePT were measured with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from srkd_ros.geometry import voxelize
from srkd_ros.labels import UNLABELLED
from srkd_ros.preprocess import keep_mask
from srkd_ros.segmenter import Segmenter
from srkd_ros.student import Preprocessing


@dataclass(frozen=True)
class View:
    """One way to look at a cloud: scaled, turned about z, then mirrored in x and y."""

    scale: float = 1.0
    quarter_turns: int = 0
    flip: bool = False


SCALES = (0.9, 0.95, 1.0, 1.05, 1.1)
LIDAR_VIEWS = tuple(View(scale, flip=flip) for flip in (False, True) for scale in SCALES)
INDOOR_VIEWS = (*(View(s, turns) for s in (1.0, 0.95, 1.05) for turns in range(4)), View(flip=True))


def predict(
    segmenter: Segmenter,
    xyz: np.ndarray,
    intensity: np.ndarray | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
    views: Sequence[View] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels uint8 [N] and confidences float32 [N] of a scan given as to a Segmenter call.

    The scan is thinned to one point in each half voxel (not indoors, as in the published configurations). For each view
    it is cut into fragments of one point a voxel, so that every point passes the network itself; a point's
    probabilities are summed over all its passes, and points thinned away take their half voxel's label. Tens of passes
    a scan. `views`: LIDAR_VIEWS, or INDOOR_VIEWS for models that see neither coordinates nor intensity.
    """
    preprocessing = segmenter.manifest.preprocessing
    outdoor = bool({"x", "y", "z", "intensity"} & set(preprocessing.features))
    if views is None:
        views = LIDAR_VIEWS if outdoor else INDOOR_VIEWS
    labels = np.full(len(xyz), UNLABELLED, np.uint8)
    confidence = np.zeros(len(xyz), np.float32)
    kept = keep_mask(torch.from_numpy(np.ascontiguousarray(xyz, np.float32)), preprocessing).numpy().nonzero()[0]
    if len(kept) == 0:
        return labels, confidence
    chosen, of_chosen = kept, np.arange(len(kept))
    if outdoor:
        fine = voxelize(torch.from_numpy(np.ascontiguousarray(xyz[kept], np.float32)), preprocessing.voxel_size / 2)
        chosen, of_chosen = kept[fine.first_point.numpy()], fine.point_to_voxel.numpy()

    total = np.zeros((len(chosen), len(segmenter.labels)), np.float32)
    for view in views:
        seen, features = _turn(xyz[chosen], {k: v[chosen] for k, v in (extra or {}).items()}, view)
        for part in fragments(seen, preprocessing):
            total[part] += segmenter.probabilities(
                seen[part],
                None if intensity is None else intensity[chosen][part],
                {name: values[part] for name, values in features.items()},
            )
    best = total.argmax(1)
    share = total[np.arange(len(total)), best] / np.maximum(total.sum(1), 1e-9)
    some = (total.sum(1) > 0)[
        of_chosen
    ]  # a view's scale may have pushed all passes of a point beyond the model's range
    labels[kept[some]] = best.astype(np.uint8)[of_chosen[some]]
    confidence[kept[some]] = share[of_chosen[some]]
    return labels, confidence


def fragments(xyz: np.ndarray, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """Index sets int64 [V] with one point of every voxel each, as many as the fullest voxel has points.

    Every point is in at least one; voxels with fewer points begin again with their first.
    """
    voxel = voxelize(torch.from_numpy(xyz), preprocessing.voxel_size).point_to_voxel.numpy()
    order = np.argsort(voxel, kind="stable")
    counts = np.bincount(voxel)
    starts = np.cumsum(counts) - counts
    for turn in range(counts.max()):
        yield order[starts + turn % counts]


def _turn(xyz: np.ndarray, extra: dict[str, np.ndarray], view: View) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Points [N, 3] and, of the other features, the normals as a view shows them."""
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[view.quarter_turns % 4]
    sign = -1 if view.flip else 1
    turn = np.array([[sign * cos, -sign * sin], [sign * sin, sign * cos]], np.float32)
    seen = np.ascontiguousarray(xyz, np.float32) * np.float32(view.scale)
    seen[:, :2] = seen[:, :2] @ turn.T
    if "nx" in extra and "ny" in extra:
        nx, ny = turn @ np.stack([extra["nx"], extra["ny"]])
        extra = {**extra, "nx": nx, "ny": ny}
    return seen, extra
