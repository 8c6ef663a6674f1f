# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Compares the live stream with what the student was trained on, and names the parameter that mends a difference."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from srkd_ros.student import Manifest  # imports torch, which takes seconds


QUANTILES = ("0.01", "0.5", "0.99")
FULL_SCALES = (1.0, 255.0, 65535.0)
INTENSITY_FACTOR = 4.0  # sensors differ by a factor of two or three in the same scale; a wrong scale by 10 and more
RANGE_FACTOR = 3.0
HEIGHT_SHIFT = 0.7  # metres
SKEW = 0.4
IN_RANGE_SHARE = 0.1


@dataclass(frozen=True)
class Finding:
    """One difference that spoils the labels. `parameter` is the one to set, "" where none mends it."""

    text: str
    parameter: str = ""


@dataclass(frozen=True)
class InputSummary:
    """Quantiles of the live stream (keys as in InputStatistics) and shares of its points."""

    intensity: dict[str, float]  # after scaling; empty without intensity
    range: dict[str, float]  # metres
    z: dict[str, float]  # metres, as the model sees it
    in_range: float  # share of the measured points (finite, not at the origin) that the model can label
    measured: float  # share of all points that are measured


class InputMonitor:
    """Keeps a few thousand points of the latest clouds and summarises them on demand. Thread-safe."""

    def __init__(self, manifest: Manifest, clouds: int = 20, points: int = 2000) -> None:
        self._preprocessing = manifest.preprocessing
        self._points = points
        self._xyz: deque[np.ndarray] = deque(maxlen=clouds)
        self._intensity: deque[np.ndarray | None] = deque(maxlen=clouds)
        self._lock = threading.Lock()

    def add(self, xyz: np.ndarray, intensity: np.ndarray | None, scale: float) -> None:
        """Points [N, 3] as the model sees them (metres), raw intensity [N] or None, and the raw value of 1.0."""
        step = max(len(xyz) // self._points, 1)
        if step > 1:
            step += 1 - step % 2  # odd, so that an organised cloud's beams (a power of two) are all sampled
        with self._lock, np.errstate(invalid="ignore"):
            self._xyz.append(np.array(xyz[::step], np.float32))
            self._intensity.append(None if intensity is None else intensity[::step].astype(np.float32) / scale)

    def clear(self) -> None:
        with self._lock:
            self._xyz.clear()
            self._intensity.clear()

    def summary(self) -> InputSummary | None:
        """None before the first point."""
        with self._lock:
            clouds, intensities = list(self._xyz), list(self._intensity)
        xyz = np.concatenate(clouds) if clouds else np.zeros((0, 3), np.float32)
        if len(xyz) == 0:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            distance = np.linalg.norm(xyz.astype(np.float64), axis=1)
        measured = np.isfinite(distance) & (distance > 1e-6)
        kept = measured & (distance >= self._preprocessing.min_range) & (distance <= self._preprocessing.max_range)
        scaled: dict[str, float] = {}
        if intensities and all(i is not None for i in intensities):
            values = np.concatenate([i for i in intensities if i is not None])
            scaled = quantiles(values[kept & np.isfinite(values)])
        return InputSummary(
            scaled,
            quantiles(distance[kept]),
            quantiles(xyz[kept, 2]),
            float(kept.sum() / max(measured.sum(), 1)),
            float(measured.mean()),
        )


def quantiles(values: np.ndarray) -> dict[str, float]:
    """The quantiles that manifests carry; empty for no values."""
    if len(values) == 0:
        return {}
    return dict(zip(QUANTILES, np.quantile(values, [float(q) for q in QUANTILES]).tolist(), strict=True))


def findings(
    live: InputSummary,
    manifest: Manifest,
    scale: float | None,
    intensity_field: str | None,
    fields: tuple[str, ...],
) -> list[Finding]:
    """Everything wrong with the live input, worst first; empty if it looks like the training data.

    `scale` is the intensity scale in use, `intensity_field` the field read (None: the cloud has none) and `fields` all
    of the cloud's fields, for the advice.
    """
    if live.measured == 0:
        return [Finding("no point of the stream is finite and off the origin: is the sensor blocked or starting up?")]
    spec, trained = manifest.preprocessing, manifest.statistics
    if live.in_range < IN_RANGE_SHARE:
        return [
            Finding(
                f"{1 - live.in_range:.0%} of the points lie outside of the model's {spec.min_range:g} to "
                f"{spec.max_range:g} m: are the coordinates in metres?"
            )
        ]
    found: list[Finding] = []
    if "intensity" in spec.features:
        found += _intensity(live.intensity, trained.intensity, scale, intensity_field, fields)
    if _complete(trained.z) and _complete(live.z):
        found += _height(live.z, trained.z)
    if _complete(trained.range) and _complete(live.range):
        found += _range(live.range["0.5"], trained.range["0.5"])
    return found


def _intensity(
    live: dict[str, float],
    trained: dict[str, float],
    scale: float | None,
    field: str | None,
    fields: tuple[str, ...],
) -> list[Finding]:
    others = ", ".join(f for f in fields if f not in ("x", "y", "z", field)) or "none other"
    if field is None:
        return [
            Finding(
                f"the model was trained with intensity and none is read; the cloud's other fields are {others}",
                "intensity_field",
            )
        ]
    if not _complete(live):
        return []
    if live["0.01"] == live["0.99"]:
        return [
            Finding(
                f"field {field!r} is {live['0.5'] * (scale or 1):g} in every point, so it tells the model nothing; "
                f"other fields are {others}",
                "intensity_field",
            )
        ]
    if live["0.01"] < -0.01 or live["0.99"] * (scale or 1) > 2 * FULL_SCALES[-1]:
        low, high = live["0.01"] * (scale or 1), live["0.99"] * (scale or 1)
        return [
            Finding(f"field {field!r} holds {low:.3g} to {high:.3g}, which is no intensity", "intensity_field"),
        ]
    if not _complete(trained) or trained["0.99"] <= 0:
        return []
    ratio = live["0.99"] / trained["0.99"]
    if 1 / INTENSITY_FACTOR <= ratio <= INTENSITY_FACTOR:
        return []
    suggestion = suggest_scale(live["0.99"] * (scale or 1), trained["0.99"])
    doubt = (
        ""
        if suggestion in FULL_SCALES
        else f", or intensity_field if {field!r} is not the intensity (others: {others})"
    )
    return [
        Finding(
            f"intensity after scaling by {scale or 1:g} reaches {live['0.99']:.3g} (99 %), in training "
            f"{trained['0.99']:.3g}: set intensity_scale:={suggestion:g}{'' if suggestion in FULL_SCALES else doubt}",
            "intensity_scale",
        )
    ]


def suggest_scale(raw: float, trained: float) -> float:
    """The scale that brings the raw 99 % quantile to the trained one: a usual full scale if one is near enough."""
    wanted = raw / trained
    nearest = min(FULL_SCALES, key=lambda s: abs(math.log(s / wanted)))
    if abs(math.log(nearest / wanted)) <= math.log(INTENSITY_FACTOR / 1.5):
        return nearest
    return float(f"{wanted:.2g}")


def _height(live: dict[str, float], trained: dict[str, float]) -> list[Finding]:
    # The ground is many points near one end of z, what stands on it few up to the other: hanging, the ends swap.
    nearer_flipped = abs(-live["0.5"] - trained["0.5"]) < abs(live["0.5"] - trained["0.5"])
    if nearer_flipped and _skew(trained) > SKEW and _skew(live) < -SKEW:
        return [
            Finding(
                f"the sensor seems to hang upside down (1 % to 99 % of z: {live['0.01']:.1f} to {live['0.99']:.1f} m, "
                f"trained {trained['0.01']:.1f} to {trained['0.99']:.1f}): set sensor_rpy:='[3.14159, 0.0, 0.0]' or "
                "target_frame",
                "sensor_rpy",
            )
        ]
    low, middle = live["0.01"] - trained["0.01"], live["0.5"] - trained["0.5"]
    shift = math.copysign(min(abs(low), abs(middle)), low)
    if low * middle > 0 and abs(shift) > HEIGHT_SHIFT:
        return [
            Finding(
                f"the ground lies about {abs(shift):.1f} m {'higher' if shift > 0 else 'lower'} than in training "
                f"(1 % of z: {live['0.01']:.1f} m, trained {trained['0.01']:.1f}): set sensor_height (metres above the "
                "ground) or target_frame",
                "sensor_height",
            )
        ]
    return []


def _range(live: float, trained: float) -> list[Finding]:
    if trained <= 0 or 1 / RANGE_FACTOR <= live / trained <= RANGE_FACTOR:
        return []
    return [
        Finding(
            f"half of the points are nearer than {live:.1f} m, in training {trained:.1f} m: the surroundings "
            "differ from the training data, expect weaker labels"
        )
    ]


def _complete(values: dict[str, float]) -> bool:
    return all(q in values and math.isfinite(values[q]) for q in QUANTILES)


def _skew(z: dict[str, float]) -> float:
    """Positive where the upper tail is the longer one; 0.4 stands for a factor of 1.5."""
    return math.log(max(z["0.99"] - z["0.5"], 1e-3) / max(z["0.5"] - z["0.01"], 1e-3))
