# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""PointCloud2 to arrays and back, against sensor_msgs_py."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import clouds
from benchmarks.jobs import Job, Settings
from benchmarks.timing import Case, Group
from srkd_ros import pointcloud2

PEER = "sensor_msgs_py"


def decode_jobs(settings: Settings) -> list[Job]:
    return [
        Job("decode", name, lambda name=name: decode(clouds.simulated(name)), seconds=1.0, quick=True)  # type: ignore[misc]
        for name in clouds.SENSORS
    ]


def encode_jobs(settings: Settings) -> list[Job]:
    return [
        Job("encode", name, lambda name=name: encode(clouds.simulated(name)), seconds=1.0, quick=True)  # type: ignore[misc]
        for name in clouds.SENSORS
    ]


def decode(cloud: clouds.BenchmarkCloud) -> Group:
    """A message to contiguous xyz float32 [N, 3] and intensity float32 [N]."""
    message = cloud.message()

    def ours() -> Any:
        read = pointcloud2.read(message)
        return np.ascontiguousarray(read.xyz), np.ascontiguousarray(read.intensity)

    group = Group([Case("srkd_ros", ours)], "srkd_ros", {"points": cloud.points})
    peer, group.skipped = _peer(message)
    if peer is not None:

        def theirs() -> Any:
            values = peer.read_points_numpy(message, ("x", "y", "z", "intensity"))
            return np.ascontiguousarray(values[:, :3]), np.ascontiguousarray(values[:, 3])

        group.cases.append(Case(PEER, theirs, quick=False))
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(ours(), theirs(), strict=True)):
            raise AssertionError("decoders disagree")
    return group


def encode(cloud: clouds.BenchmarkCloud) -> Group:
    """Labels and confidence of a message's points to a message with x, y, z, rgb, label, confidence."""
    message = cloud.message()
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 19, cloud.points).astype(np.uint8)
    confidence = generator.random(cloud.points).astype(np.float32)
    palette = generator.integers(0, 256, (256, 3)).astype(np.uint8)
    xyz = cloud.xyz
    group = Group(
        [Case("srkd_ros", lambda: pointcloud2.write(message, labels, confidence, palette))],
        "srkd_ros",
        {"points": cloud.points},
    )
    peer, group.skipped = _peer(message)
    if peer is not None:
        fields = pointcloud2.write(message, labels, confidence, palette).fields
        packed = (palette.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(1, dtype=np.uint32)

        def theirs() -> Any:
            points = np.empty(len(xyz), peer.dtype_from_fields(fields))
            points["x"], points["y"], points["z"] = xyz[:, 0], xyz[:, 1], xyz[:, 2]
            points["rgb"] = packed[labels].view(np.float32)
            points["label"], points["confidence"] = labels, confidence
            return peer.create_cloud(message.header, fields, points)

        group.cases.append(Case(PEER, theirs, quick=False))
    return group


def _peer(message: Any) -> tuple[Any, dict[str, str]]:
    try:
        from sensor_msgs_py import point_cloud2
    except ImportError:
        return None, {PEER: "not installed (it comes with ROS)"}
    if not type(message).__module__.startswith("sensor_msgs."):
        return None, {PEER: "needs rclpy's messages"}
    return point_cloud2, {}
