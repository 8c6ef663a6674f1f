# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Streaming metrics against plain numpy on all the data at once."""

import numpy as np
import pytest

from srkd_ros import metrics
from srkd_ros.metrics import Calibration, Confusion, LinearHistogram, Percentiles

CLASSES = 5


def _clouds(count=7, points=400, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        truth = rng.integers(0, CLASSES, points).astype(np.uint8)
        prediction = np.where(rng.random(points) < 0.7, truth, rng.integers(0, CLASSES, points)).astype(np.uint8)
        truth[rng.random(points) < 0.1] = 255
        prediction[rng.random(points) < 0.05] = 255
        yield truth, prediction, rng.random(points).astype(np.float32), rng.uniform(0, 90, points).astype(np.float32)


def test_confusion_and_iou_equal_brute_force():
    confusion = Confusion(CLASSES)
    data = list(_clouds())
    for truth, prediction, _, distance in data:
        confusion.add(truth, prediction, distance)
    truth, prediction, _, distance = (np.concatenate(part) for part in zip(*data, strict=True))
    for c in range(CLASSES):
        known = truth != 255
        hit = np.sum((truth == c) & (prediction == c))
        union = np.sum(known & ((truth == c) | (prediction == c)))
        assert metrics.iou(confusion.total)[c] == pytest.approx(hit / union, abs=1e-15)
    for b, (low, high) in enumerate(zip(metrics.RANGE_EDGES[:-1], metrics.RANGE_EDGES[1:], strict=True)):
        assert confusion.counts[b].sum() == np.sum((truth != 255) & (distance >= low) & (distance < high))
    assert metrics.accuracy(confusion.total) == pytest.approx(np.mean((truth == prediction)[truth != 255]))


def test_a_cloud_returns_its_own_matrix():
    confusion = Confusion(CLASSES)
    total = sum(confusion.add(t, p, d) for t, p, _, d in _clouds())
    assert np.array_equal(total, confusion.total)


def test_mean_iou_averages_classes_that_occur():
    confusion = Confusion(3)
    confusion.add(np.array([0, 0, 1], np.uint8), np.array([0, 2, 1], np.uint8))
    assert metrics.mean_iou(confusion.total) == pytest.approx((0.5 + 1.0) / 2)
    assert np.isnan(metrics.mean_iou(Confusion(3).total))
    summary = metrics.summary(confusion, ("a", "b", "c"))
    assert summary["per_class"]["c"] == {
        "iou": None,
        "precision": 0.0,
        "recall": None,
        "points": 0,
        "predicted": 1,
    }


def test_points_without_a_prediction_count_as_missed():
    confusion = Confusion(2)
    confusion.add(np.array([0, 0, 255], np.uint8), np.array([0, 255, 255], np.uint8), np.array([1.0, np.nan, 2.0]))
    summary = metrics.summary(confusion, ("a", "b"))
    assert summary["miou"] == 0.5
    assert summary["unpredicted_points"] == 1


def test_calibration_equals_the_definition():
    calibration = Calibration()
    data = list(_clouds(seed=3))
    for truth, prediction, confidence, _ in data:
        calibration.add(truth, prediction, confidence)
    truth, prediction, confidence, _ = (np.concatenate(part) for part in zip(*data, strict=True))
    used = (truth != 255) & (prediction != 255)
    right, p = (truth == prediction)[used], confidence[used].astype(np.float64)
    b = np.minimum((p * 15).astype(int), 14)
    ece = sum(abs(right[b == i].mean() - p[b == i].mean()) * np.mean(b == i) for i in range(15) if (b == i).any())
    assert calibration.ece == pytest.approx(ece, abs=1e-6)


def test_calibration_of_a_perfect_and_of_a_boastful_model():
    truth = np.zeros(1000, np.uint8)
    right = Calibration()
    right.add(truth, truth, np.ones(1000, np.float32))
    assert right.ece == 0.0
    boast = Calibration()
    boast.add(truth, np.ones(1000, np.uint8), np.full(1000, 0.8, np.float32))
    assert boast.ece == pytest.approx(0.8, abs=1e-6)


def test_sums_do_not_depend_on_the_order():
    forward, backward = Calibration(), Calibration()
    data = list(_clouds(seed=5))
    for truth, prediction, confidence, _ in data:
        forward.add(truth, prediction, confidence)
    for truth, prediction, confidence, _ in reversed(data):
        backward.add(truth, prediction, confidence)
    assert np.array_equal(forward.confidence, backward.confidence)


def test_percentiles_are_right_to_half_a_percent():
    values = np.random.default_rng(1).lognormal(3, 1, 5000)
    percentiles = Percentiles()
    for v in values:
        percentiles.add(v)
    for q in (0.5, 0.95, 0.99):
        exact = np.quantile(values, q, method="inverted_cdf")
        assert percentiles.quantile(q) == pytest.approx(exact, rel=0.0051)
    assert Percentiles().to_dict() == {"p50": None, "p95": None, "p99": None}


def test_linear_histogram_quantiles():
    values = np.random.default_rng(2).normal(0, 2, 50_000)
    histogram = LinearHistogram(-20, 20, 4000)
    for part in np.array_split(values, 9):
        histogram.add(part)
    histogram.add(np.array([np.nan, np.inf]))
    for q in (0.01, 0.5, 0.99):
        assert histogram.quantile(q) == pytest.approx(np.quantile(values, q), abs=0.02)
