# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""TargetFrame: the pose of an upright frame by tf2, where tf2 is installed."""

from __future__ import annotations

from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from srkd_ros.errors import CloudError, MissingPackageError
from srkd_ros.node.frames import Pose, from_quaternion

WAIT = Duration(seconds=0.05)  # transforms come a little later than clouds


class TargetFrame:
    """Looks up the transform of each cloud's frame and time to one frame."""

    def __init__(self, node: Node, frame: str) -> None:
        try:
            from tf2_ros import Buffer, TransformException, TransformListener
        except ImportError as error:
            raise MissingPackageError(
                "target_frame needs tf2 (apt install ros-$ROS_DISTRO-tf2-ros); without it set sensor_rpy and "
                "sensor_height instead"
            ) from error
        self.frame, self._node = frame, node
        self._error = TransformException
        self._buffer = Buffer(node=node)
        self._listener = TransformListener(self._buffer, node, spin_thread=False)

    def close(self) -> None:
        self._listener.unregister()
        if (service := getattr(self._buffer, "srv", None)) is not None:  # tf2 leaves its service to the node
            self._node.destroy_service(service)
        if (handle := getattr(self._buffer, "jump_handle", None)) is not None:
            handle.unregister()

    def pose(self, header: Any) -> Pose:
        """From the header's frame at its stamp; CloudError if tf2 knows no such transform."""
        try:
            found = self._buffer.lookup_transform(self.frame, header.frame_id, Time.from_msg(header.stamp), WAIT)
        except (self._error, ValueError) as error:
            raise CloudError(
                f"target_frame: no transform from {header.frame_id!r} to {self.frame!r} ({str(error).splitlines()[0]})"
            ) from error
        t, q = found.transform.translation, found.transform.rotation
        return from_quaternion(q.x, q.y, q.z, q.w, (t.x, t.y, t.z))
