# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Recorder: receives the node's `segmented` clouds as raw bytes and notes when each arrived."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2


class Recorder:
    """Nothing is deserialised while the clock runs: the stamp is read off the bytes."""

    def __init__(self, topic: str, received: Callable[[int, bytes], None] | None = None) -> None:
        """`received` is called with (stamp in ns, serialised PointCloud2) for each cloud."""
        self._context = Context()
        rclpy.init(context=self._context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self._node = rclpy.create_node("srkd_replay_recorder", context=self._context)
        quality = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        self._subscription = self._node.create_subscription(PointCloud2, topic, self._take, quality, raw=True)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._received = received
        self.arrived: dict[int, int] = {}  # header stamp in ns -> time.monotonic_ns() of its arrival
        self.duplicates = 0
        self.last = time.monotonic()

    def _take(self, data: bytes) -> None:
        now = time.monotonic_ns()
        seconds, nanoseconds = struct.unpack_from("<iI" if data[1] else ">iI", data, 4)
        stamp = seconds * 10**9 + nanoseconds
        if stamp in self.arrived:
            self.duplicates += 1
            return
        self.arrived[stamp], self.last = now, time.monotonic()
        if self._received:
            self._received(stamp, data)

    def spin(self, seconds: float) -> None:
        """Receive for at most so long; returns after one cloud."""
        self._executor.spin_once(timeout_sec=seconds)

    def node_is_active(self, points: str) -> bool:
        """Whether somebody publishes our topic and subscribes `points`."""
        return bool(self._node.count_publishers(self._subscription.topic_name) and self._node.count_subscribers(points))

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
