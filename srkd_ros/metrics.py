# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Streaming metrics of point labels: confusion by range, calibration, percentiles. Constant memory, exact merges.

Everything accumulates in integers, so that the sum over shards equals the unsplit run bit for bit, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from srkd_ros.labels import UNLABELLED

RANGE_EDGES = (0.0, 10.0, 20.0, 30.0, 50.0, float("inf"))
"""Metres: lower edges of the range bins, and the end."""

CONFIDENCE_BINS = 15
_CONFIDENCE_UNIT = 1 << 24  # a float32 confidence above 0.5 is a whole multiple of 2^-24


class Confusion:
    """Confusion matrices by range bin.

    `counts` is int64 [B, C, C + 1]: range bin, true class, predicted class; the last column is "no prediction" (255).
    Points whose truth is 255 are ignored. A point with a truth and without a prediction counts as missed, as in
    SemanticKITTI's own evaluation.
    """

    def __init__(self, classes: int, edges: Sequence[float] = RANGE_EDGES) -> None:
        self.classes = classes
        self.edges = np.asarray(edges, np.float64)
        self.counts = np.zeros((len(edges) - 1, classes, classes + 1), np.int64)

    def add(self, truth: np.ndarray, prediction: np.ndarray, distance: np.ndarray | None = None) -> np.ndarray:
        """Count one cloud and return its own matrix, int64 [C, C + 1].

        truth, prediction: uint8 [N], class ids or 255. distance: float [N] in metres from the sensor; without it, or
        where it is not finite, a point falls into the first bin.
        """
        c = self.classes
        known = truth < c
        row = truth[known].astype(np.int64)
        column = np.minimum(prediction[known], c).astype(np.int64)
        cell = row * (c + 1) + column
        if distance is not None:
            d = np.nan_to_num(distance[known], nan=0.0, posinf=0.0)
            cell += (np.searchsorted(self.edges[1:-1], d, side="right") * (c * (c + 1))).astype(np.int64)
        counts = np.bincount(cell, minlength=self.counts.size).reshape(self.counts.shape)
        self.counts += counts
        return counts.sum(0)

    @property
    def total(self) -> np.ndarray:
        """int64 [C, C + 1] over all ranges."""
        return self.counts.sum(0)


def iou(matrix: np.ndarray) -> np.ndarray:
    """float64 [C] of a matrix [C, C + 1]: TP / (TP + FP + FN); NaN for a class without truth and without prediction."""
    matrix = matrix.astype(np.float64)
    c = matrix.shape[0]
    hit = np.diagonal(matrix)
    union = matrix.sum(1) + matrix[:, :c].sum(0) - hit
    return np.divide(hit, union, out=np.full(c, np.nan), where=union > 0)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean IoU over the classes that occur in the truth; NaN if none does.

    A class that only occurs in the prediction has no IoU of its own to average; its points already count as missed
    in the classes they belong to. On a validation set with every class this is the usual mIoU.
    """
    present = matrix.sum(1) > 0
    return float(iou(matrix)[present].mean()) if present.any() else float("nan")


def accuracy(matrix: np.ndarray) -> float:
    """Share of the points with a truth that are labelled right."""
    n = int(matrix.sum())
    return float(np.trace(matrix[:, :-1]) / n) if n else float("nan")


def summary(confusion: Confusion, names: Sequence[str]) -> dict[str, Any]:
    """A Confusion as plain numbers for JSON: miou, accuracy, per_class, by_range, confusion. NaN becomes None."""
    total = confusion.total
    ious = iou(total)
    labelled = total[:, :-1]
    per_class = {
        name: {
            "iou": number(ious[i]) if total[i].sum() else None,
            "precision": ratio(labelled[i, i], labelled[:, i].sum()),
            "recall": ratio(labelled[i, i], total[i].sum()),
            "points": int(total[i].sum()),
            "predicted": int(labelled[:, i].sum()),
        }
        for i, name in enumerate(names)
    }
    by_range = [
        {
            "from_m": float(confusion.edges[b]),
            "to_m": number(confusion.edges[b + 1]),
            "points": int(confusion.counts[b].sum()),
            "miou": number(mean_iou(confusion.counts[b])),
            "accuracy": number(accuracy(confusion.counts[b])),
        }
        for b in range(len(confusion.counts))
    ]
    return {
        "miou": number(mean_iou(total)),
        "accuracy": number(accuracy(total)),
        "points": int(total.sum()),
        "unpredicted_points": int(total[:, -1].sum()),
        "per_class": per_class,
        "by_range": by_range,
        "confusion": {"rows": "truth", "columns": [*names, "unlabelled"], "counts": total.tolist()},
    }


class Calibration:
    """Reliability of the confidence, in equal bins of [0, 1] over the points with a truth and a prediction."""

    def __init__(self, bins: int = CONFIDENCE_BINS) -> None:
        self.points = np.zeros(bins, np.int64)
        self.correct = np.zeros(bins, np.int64)
        self.confidence = np.zeros(bins, np.int64)  # sum, in units of 2^-24

    def add(self, truth: np.ndarray, prediction: np.ndarray, confidence: np.ndarray) -> None:
        """truth, prediction: uint8 [N]; confidence: float32 [N] in [0, 1]."""
        used = (truth != UNLABELLED) & (prediction != UNLABELLED)
        p = np.clip(confidence[used].astype(np.float64), 0.0, 1.0)
        n = len(self.points)
        b = np.minimum((p * n).astype(np.int64), n - 1)
        unit = np.rint(p * _CONFIDENCE_UNIT)
        self.points += np.bincount(b, minlength=n)
        self.correct += np.bincount(b[truth[used] == prediction[used]], minlength=n)
        self.confidence += np.bincount(b, weights=unit, minlength=n).astype(np.int64)  # exact below 2^53

    @property
    def ece(self) -> float:
        """Expected calibration error: the gap between confidence and accuracy, weighted by points."""
        n = self.points.sum()
        if not n:
            return float("nan")
        return float(np.abs(self.correct - self.confidence / _CONFIDENCE_UNIT).sum() / n)

    def to_dict(self) -> dict[str, Any]:
        filled = np.maximum(self.points, 1)
        return {
            "ece": number(self.ece),
            "bins": [
                {
                    "from": i / len(self.points),
                    "to": (i + 1) / len(self.points),
                    "points": int(self.points[i]),
                    "confidence": float(self.confidence[i] / _CONFIDENCE_UNIT / filled[i]) if self.points[i] else None,
                    "accuracy": float(self.correct[i] / filled[i]) if self.points[i] else None,
                }
                for i in range(len(self.points))
            ],
        }


class Percentiles:
    """Percentiles of a stream of positive values, from a histogram of bins 1 % wide: each is right to 0.5 %."""

    _LOW = 1e-3  # milliseconds, when used for latencies
    _RATIO = float(np.log(1.01))
    _BINS = 2200  # up to 1e-3 * 1.01^2200 = 3.2e6 (53 minutes in milliseconds)

    def __init__(self) -> None:
        self.counts = np.zeros(self._BINS, np.int64)

    def add(self, value: float) -> None:
        position = np.log(max(value, self._LOW) / self._LOW) / self._RATIO
        self.counts[min(int(position), self._BINS - 1)] += 1

    def quantile(self, q: float) -> float:
        """The value of rank ceil(q n); NaN before the first value."""
        n = int(self.counts.sum())
        if not n:
            return float("nan")
        rank = max(1, int(np.ceil(q * n)))
        return float(self._LOW * np.exp((np.searchsorted(np.cumsum(self.counts), rank) + 0.5) * self._RATIO))

    def to_dict(self) -> dict[str, float | None]:
        return {name: number(self.quantile(q)) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


class LinearHistogram:
    """Quantiles of many values per cloud, from equal bins between two limits; values outside fall in the end bins."""

    def __init__(self, low: float, high: float, bins: int) -> None:
        self.low, self.high = low, high
        self.counts = np.zeros(bins, np.int64)

    def add(self, values: np.ndarray) -> None:
        n = len(self.counts)
        v = values[np.isfinite(values)]
        position = (v - self.low) * (n / (self.high - self.low))
        self.counts += np.bincount(np.clip(position, 0, n - 1).astype(np.int64), minlength=n)

    def quantile(self, q: float) -> float:
        """The value below which a share q lies, interpolated in its bin; NaN before the first value."""
        n = int(self.counts.sum())
        if not n:
            return float("nan")
        cumulative = np.cumsum(self.counts)
        target = q * n
        b = min(int(np.searchsorted(cumulative, target, side="left")), len(self.counts) - 1)
        below = cumulative[b] - self.counts[b]
        inside = (target - below) / max(int(self.counts[b]), 1)
        return float(self.low + (b + inside) * (self.high - self.low) / len(self.counts))


def number(value: float) -> float | None:
    """For JSON, which has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None


def ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
