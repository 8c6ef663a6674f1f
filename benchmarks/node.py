# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The whole node, publish to receipt across processes, against a node that only echoes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.jobs import Job, Settings, Skip
from benchmarks.models import CLOUDS, cloud_of, student_file
from benchmarks.timing import Case, Group

READY = 120.0  # seconds for a node to load its student and be discovered
ANSWER = 30.0  # seconds for one cloud
_REPOSITORY = Path(__file__).resolve().parents[1]


def jobs(settings: Settings) -> list[Job]:
    return [
        Job("node", f"{name}, {size} m, nano", partial(node, name, size, settings), seconds=5.0, quick=name == "120k")
        for name, size in CLOUDS
    ]


def node(name: str, size: float, settings: Settings) -> Group:
    """One cloud at a time: published here, labelled in the node's process, received here."""
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        raise Skip("needs rclpy (pip install 'srkd_ros[ros]', or a sourced ROS)") from error
    cloud = cloud_of(name)
    student = student_file("nano", size)
    segmenter = ["srkd_ros.segmenter_node", "--ros-args", "-p", f"model:={student}", "-p", f"device:={settings.device}"]
    ends: list[_OtherProcess] = []
    try:
        ends.append(_OtherProcess("segmenter", segmenter, cloud.message()))
        ends.append(_OtherProcess("echo", ["benchmarks.echo", "--ros-args"], cloud.message()))
    except BaseException:
        for end in ends:
            end.close()
        raise
    ours, echo = ends
    cases = [
        Case("segmenter node", ours.round_trip, process=ours.pid),
        Case("echo node, no work", echo.round_trip, process=echo.pid, quick=False),
    ]

    def close() -> None:
        for end in ends:
            end.close()

    return Group(cases, "segmenter node", {"points": cloud.points}, close=close)


class _OtherProcess:
    """A node in a process of its own, on topics of its own, and the publisher and subscription to reach it."""

    def __init__(self, name: str, command: list[str], message: Any) -> None:
        environment = _environment()
        os.environ.update({key: value for key, value in environment.items() if key not in os.environ})
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import PointCloud2

        remap = ["-r", f"points:=/{name}/points", "-r", f"segmented:=/{name}/segmented"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command, *remap],
            cwd=_REPOSITORY,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self._message, self._stamp = message, 0
        self._received: Any = None
        self._context = rclpy.Context()
        self._context.init()
        self._node = rclpy.create_node(f"{name}_benchmark", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._publisher = self._node.create_publisher(PointCloud2, f"/{name}/points", 1)
        self._answers = f"/{name}/segmented"
        self._node.create_subscription(PointCloud2, self._answers, self._receive, 5)
        try:
            self._wait(self._connected, READY, "did not start")
        except BaseException:
            self.close()
            raise

    def round_trip(self) -> Any:
        """Publish the cloud under a new stamp; returns when its answer is here."""
        self._stamp += 1
        self._message.header.stamp.sec = self._stamp
        self._publisher.publish(self._message)
        self._wait(lambda: self._received == self._stamp, ANSWER, "gave no answer")

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, message: Any) -> None:
        self._received = message.header.stamp.sec

    def _connected(self) -> bool:
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            raise RuntimeError(f"the node ended: {self._process.stderr.read().decode().strip()[-300:]}")
        return bool(self._publisher.get_subscription_count() and self._node.count_publishers(self._answers))

    def _wait(self, condition: Callable[[], bool], seconds: float, failure: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"the node {failure} within {seconds:.0f} s")
            self._executor.spin_once(timeout_sec=0.05)


def _environment() -> dict[str, str]:
    """This process's, with shared memory for clouds and nothing beyond this machine."""
    from srkd_ros.node.transport import profile_environment

    environment = dict(os.environ)
    environment.update(profile_environment(environment))
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.setdefault("ROS_DOMAIN_ID", str(100 + os.getpid() % 100))
    return environment
