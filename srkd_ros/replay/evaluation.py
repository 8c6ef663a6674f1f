# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Evaluation: what one model did on a stream of clouds, in integer sums that shards add up and a file keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from srkd_ros import metrics
from srkd_ros.errors import DataError
from srkd_ros.labels import UNLABELLED, LabelSet
from srkd_ros.metrics import Calibration, Confusion, LinearHistogram, Percentiles, number, ratio
from srkd_ros.replay.truth_ids import ID_BINS
from srkd_ros.student import InputStatistics

STAGES = ("decode", "preprocess", "geometry", "network", "postprocess", "encode", "total", "end_to_end")
CONSISTENCY_VOXEL = 0.2  # metres
CONSISTENCY_GAP = 1.0  # seconds between clouds above which they are not compared
_AT_ORIGIN = 1e-6  # metres: nearer, a return is none
DRIFT_LIMIT = 0.25  # share of the training spread by which a quantile may be off


@dataclass
class CloudScores:
    """What the table of clouds says about one of them; None where it cannot be said."""

    miou: float | None = None
    accuracy: float | None = None
    agreement: float | None = None
    consistency: float | None = None
    confidence: float | None = None

    @property
    def best(self) -> float | None:
        """The score that orders the pictures: mIoU, else agreement with the teacher, else mean confidence."""
        return next((s for s in (self.miou, self.agreement, self.confidence) if s is not None), None)


class VoxelLabels:
    """The majority label of each occupied voxel of a cloud."""

    def __init__(self, xyz: np.ndarray, labels: np.ndarray, size: float = CONSISTENCY_VOXEL) -> None:
        used = labels != UNLABELLED
        cell = np.floor(xyz[used] / np.float32(size)).astype(np.int64) + (1 << 17)  # +-26 km at 0.2 m
        key = ((cell[:, 0] << 36) | (cell[:, 1] << 18) | cell[:, 2]) << 8 | labels[used]
        pair, count = np.unique(key, return_counts=True)
        order = np.lexsort((-count, pair >> 8))
        voxel = pair[order] >> 8
        first = np.ones(len(voxel), bool)
        first[1:] = voxel[1:] != voxel[:-1]
        self.voxels = voxel[first]  # int64, sorted
        self.labels = (pair[order] & 0xFF)[first].astype(np.uint8)

    def agreement(self, other: VoxelLabels) -> tuple[int, int]:
        """(voxels of the same label, voxels) among those occupied in both."""
        _, a, b = np.intersect1d(self.voxels, other.voxels, assume_unique=True, return_indices=True)
        return int(np.count_nonzero(self.labels[a] == other.labels[b])), len(a)


class Evaluation:
    """Accumulates one model's results. All state is in `arrays`, int64: adding those of two runs merges the runs."""

    def __init__(
        self,
        labels: LabelSet,
        statistics: InputStatistics | None = None,
        limits: tuple[float, float] = (0.0, float("inf")),
    ) -> None:
        """`limits`: the range in metres, inclusive, out of which the model leaves points unlabelled."""
        self.labels = labels
        self.limits = limits
        self.statistics = statistics or InputStatistics()
        self.truth = Confusion(len(labels))
        self.teacher = Confusion(len(labels))
        self.calibration = Calibration()
        self.latency = {stage: Percentiles() for stage in STAGES}
        self.predicted = np.zeros(256, np.int64)
        self.measured = np.zeros(3, np.int64)  # points that are finite and off the origin, too near of them, too far
        self.labelled = np.zeros(2, np.int64)  # clouds with a labelled point, and all their points
        self.truth_ids = np.zeros(ID_BINS, np.int64)  # points by the number that the truth has for them
        # clouds, points, voxels, busy ns (with labels), agreeing voxels, common voxels, pairs, with truth
        self.counts = np.zeros(8, np.int64)
        self.inputs = {
            "intensity": LinearHistogram(0, 2, 2000),
            "range": LinearHistogram(0, 250, 2500),
            "z": LinearHistogram(-50, 50, 2000),
        }
        self._previous: tuple[int, int, VoxelLabels] | None = None

    def add(
        self,
        xyz: np.ndarray,
        labels: np.ndarray,
        confidence: np.ndarray,
        *,
        stream: int = 0,
        stamp: int = 0,
        intensity: np.ndarray | None = None,
        truth: np.ndarray | None = None,
        teacher: np.ndarray | None = None,
        timings: dict[str, float] | None = None,
        voxels: int = 0,
    ) -> CloudScores:
        """Count one cloud: xyz float32 [N, 3], labels uint8 [N], confidence float32 [N], intensity [N] scaled to 0..1,
        truth and teacher uint8 [N], timings in ms. `stream` and `stamp` (ns) say which clouds follow one another.

        The timings of a cloud without a single label do not count, but for the way through a live node: the network
        did not run, and many such clouds would make any model look fast."""
        scores = CloudScores()
        predicted = labels != UNLABELLED
        finite = np.isfinite(xyz).all(1)
        distance = np.sqrt(np.square(xyz, where=finite[:, None], out=np.zeros_like(xyz)).sum(1))
        if truth is not None:
            truth = np.where(finite, truth, UNLABELLED)  # a point that was not measured has nothing to be right about
            matrix = self.truth.add(truth, labels, distance)
            self.calibration.add(truth, labels, confidence)
            self.counts[7] += 1
            scores.miou, scores.accuracy = number(metrics.mean_iou(matrix)), number(metrics.accuracy(matrix))
        if teacher is not None:
            scores.agreement = number(metrics.mean_iou(self.teacher.add(teacher, labels, distance)))
        if predicted.any():
            scores.confidence = float(confidence[predicted].mean(dtype=np.float64))
        scores.consistency = self._consistency(xyz, labels, stream, stamp)
        self.predicted += np.bincount(labels, minlength=256)
        measured = distance[finite & (distance > _AT_ORIGIN)]
        self.measured += (len(measured), *(int(np.count_nonzero(out)) for out in self._outside(measured)))
        self.labelled += (int(predicted.any()), len(xyz) * int(predicted.any()))
        self.inputs["range"].add(distance[predicted])
        self.inputs["z"].add(xyz[predicted, 2])
        if intensity is not None:
            self.inputs["intensity"].add(intensity[predicted])
        counted = {s: t for s, t in (timings or {}).items() if predicted.any() or s == "end_to_end"}
        for stage, milliseconds in counted.items():
            self.latency[stage].add(milliseconds)
        busy = round(counted.get("total", 0.0) * 1e6)
        self.counts[:4] += (1, len(xyz), voxels, busy)
        return scores

    def _outside(self, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bool [N] each: points nearer than the model labels, and points farther."""
        return distance < self.limits[0], distance > self.limits[1]

    def lead(self, xyz: np.ndarray, labels: np.ndarray, stream: int, stamp: int) -> None:
        """The cloud before the first one of a shard or a resumed run: only what the first is compared with."""
        self._previous = (stream, stamp, VoxelLabels(xyz, labels))

    def _consistency(self, xyz: np.ndarray, labels: np.ndarray, stream: int, stamp: int) -> float | None:
        now = VoxelLabels(xyz, labels)
        before, self._previous = self._previous, (stream, stamp, now)
        if before is None or before[0] != stream or not 0 < stamp - before[1] <= CONSISTENCY_GAP * 1e9:
            return None
        same, common = now.agreement(before[2])
        self.counts[4:7] += (same, common, 1)
        return ratio(same, common)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Views of the whole state by name."""
        return {
            "truth": self.truth.counts,
            "teacher": self.teacher.counts,
            "calibration/points": self.calibration.points,
            "calibration/correct": self.calibration.correct,
            "calibration/confidence": self.calibration.confidence,
            "predicted": self.predicted,
            "measured": self.measured,
            "labelled": self.labelled,
            "truth_ids": self.truth_ids,
            "counts": self.counts,
            **{f"latency/{stage}": p.counts for stage, p in self.latency.items()},
            **{f"input/{name}": h.counts for name, h in self.inputs.items()},
        }

    def merge(self, arrays: dict[str, np.ndarray]) -> None:
        """Add the state of another run of the same model; DataError if it is of a version that counted less."""
        if missing := self.arrays.keys() - arrays.keys():
            raise DataError(f"a run of an earlier version did not count {', '.join(sorted(missing))}: run it again")
        for name, array in self.arrays.items():
            array += arrays[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for metrics.json; None where nothing was measured."""
        clouds, points, voxels, busy, same, common, pairs, with_truth = (int(v) for v in self.counts)
        truth = metrics.summary(self.truth, self.labels.names)
        teacher = metrics.summary(self.teacher, self.labels.names)
        return {
            **(truth if with_truth else dict.fromkeys(truth)),
            "ece": number(self.calibration.ece),
            "calibration": self.calibration.to_dict() if with_truth else None,
            "agreement": teacher if self.teacher.counts.any() else None,
            "temporal_consistency": {
                "share": ratio(same, common),
                "voxels": common,
                "pairs": pairs,
                "voxel_m": CONSISTENCY_VOXEL,
            },
            "predicted": {
                **{name: int(self.predicted[i]) for i, name in enumerate(self.labels.names)},
                "unlabelled": int(self.predicted[UNLABELLED]),
            },
            "measured": {k: int(n) for k, n in zip(("points", "too_near", "too_far"), self.measured, strict=True)},
            "clouds": clouds,
            "clouds_labelled": int(self.labelled[0]),
            "clouds_with_truth": with_truth,
            "points_total": points,
            "voxels_per_cloud": ratio(voxels, clouds),
            "latency_ms": {stage: p.to_dict() for stage, p in self.latency.items() if p.counts.any()},
            "clouds_per_s": number(self.labelled[0] / (busy * 1e-9)) if busy else None,
            "points_per_s": number(self.labelled[1] / (busy * 1e-9)) if busy else None,
            "drift": self.drift(),
        }

    def drift(self) -> dict[str, Any]:
        """Quantiles of the input against those of the training data in the manifest.

        `shift` of a quantile is its distance from training's, in units of training's spread (largest minus smallest
        quantile); `drifted` names the inputs with a shift above DRIFT_LIMIT.
        """
        report: dict[str, Any] = {"drifted": []}
        for name, histogram in self.inputs.items():
            expected: dict[str, float] = getattr(self.statistics, name)
            if not expected or not histogram.counts.any():
                continue
            spread = max(max(expected.values()) - min(expected.values()), 1e-6)
            seen = {q: histogram.quantile(float(q)) for q in expected}
            shift = max(abs(seen[q] - expected[q]) for q in expected) / spread
            report[name] = {"training": expected, "input": seen, "shift": shift}
            if shift > DRIFT_LIMIT:
                report["drifted"].append(name)
        return report
