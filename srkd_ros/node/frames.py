# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""From the sensor's frame to the one the student was trained in: a mounting given by parameters, or a tf2 frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srkd_ros.errors import ConfigError

if TYPE_CHECKING:
    from srkd_ros.student import Manifest  # imports torch, which takes seconds


@dataclass(frozen=True)
class Pose:
    """A rigid transform: points [N, 3] become `points @ rotation.T + translation`."""

    rotation: np.ndarray  # [3, 3]
    translation: np.ndarray  # [3], metres

    def __call__(self, xyz: np.ndarray) -> np.ndarray:
        """Float32 [N, 3]; values that are not finite stay so."""
        with np.errstate(invalid="ignore", over="ignore"):
            return xyz @ self.rotation.T.astype(np.float32) + self.translation.astype(np.float32)

    def after(self, first: Pose) -> Pose:
        """The transform that applies `first`, then this one."""
        return Pose(self.rotation @ first.rotation, self.rotation @ first.translation + self.translation)


def from_rpy(roll: float, pitch: float, yaw: float) -> Pose:
    """Rotation about the fixed axes x, then y, then z, radians (REP 103)."""
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    rotation = np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )
    return Pose(rotation, np.zeros(3))


def from_quaternion(x: float, y: float, z: float, w: float, translation: tuple[float, float, float]) -> Pose:
    """As in geometry_msgs/Transform; the quaternion need not be normalised."""
    n = math.sqrt(x * x + y * y + z * z + w * w)
    x, y, z, w = x / n, y / n, z / n, w / n
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return Pose(rotation, np.array(translation, np.float64))


def mounting(manifest: Manifest, rpy: tuple[float, float, float], height: float) -> Pose | None:
    """How the points must be turned and lifted to look as in training; None if not at all.

    `rpy` (radians) turns the sensor frame upright, `height` is that of the frame's origin above the ground in metres;
    negative: not given, points are not lifted.
    """
    lift = 0.0 if height < 0 else height - training_height(manifest)
    if lift == 0 and not any(rpy):
        return None
    return Pose(from_rpy(*rpy).rotation, np.array([0.0, 0.0, lift]))


def training_height(manifest: Manifest) -> float:
    """Height of the training data's sensor above the ground, metres.

    From the provenance if it tells; otherwise the lowest percentile of z, which on streets is the ground.
    """
    told = manifest.provenance.get("sensor_height")
    if isinstance(told, int | float) and told >= 0:  # 0: points in a frame on the ground
        return float(told)
    lowest = manifest.statistics.z.get("0.01", 0.0)
    if lowest >= 0:
        raise ConfigError(
            "sensor_height: the student's file does not tell the height it was trained at; leave it unset"
        )
    return -lowest
