# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A node that publishes every cloud again as it came: what transport and Python cost a node that does nothing."""

from __future__ import annotations

import contextlib

import rclpy
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import PointCloud2


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("echo")
    publisher = node.create_publisher(PointCloud2, "segmented", 5)
    node.create_subscription(PointCloud2, "points", publisher.publish, 1)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
