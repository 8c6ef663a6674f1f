# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What the node's tests share: the node as a process of its own, and a peer in this one that talks to it over ROS."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="no rclpy: pip install 'srkd_ros[ros]'")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import PointCloud2, PointField  # noqa: E402

from srkd_ros.node.label_info import MESSAGE_TYPE  # noqa: E402

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class NodeProcess:
    """`python -m srkd_ros.segmenter_node` with its log in a file."""

    def __init__(self, log: Path, *arguments: str, module: str = "srkd_ros.segmenter_node") -> None:
        self.log_path = log
        self._log = open(log, "w")  # noqa: SIM115
        command = [sys.executable, "-u", "-m", module, "--ros-args", "-p", "threads:=1", *arguments]
        environment = {**os.environ, "RCUTILS_LOGGING_BUFFERED_STREAM": "0"}
        self.process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, env=environment)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self, number: int = signal.SIGINT, timeout: float = 10.0) -> tuple[int, float]:
        """Signal it and wait; returns exit status and seconds."""
        start = time.monotonic()
        if self.alive():
            self.process.send_signal(number)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._log.close()
        return status, time.monotonic() - start


class Peer:
    """A node in the test's process: publishes clouds, keeps what comes back, calls the node's services."""

    def __init__(
        self, node: str = "segmenter", inputs: str = "points", best_effort: bool = False, listen: bool = True
    ) -> None:
        self.name = node
        self.node = rclpy.create_node(f"peer_of_{node}")
        self.segmented: list[PointCloud2] = []
        self.filtered: list[PointCloud2] = []
        self.label_info: list = []
        self.statuses: dict[str, tuple[bytes, str, dict[str, str]]] = {}
        reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        self.points = self.node.create_publisher(PointCloud2, inputs, QoSProfile(depth=10, reliability=reliability))
        if listen:
            self.node.create_subscription(PointCloud2, "segmented", self.segmented.append, 20)
        self._filtered = None
        self.node.create_subscription(MESSAGE_TYPE, "label_info", self.label_info.append, LATCHED)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown(1.0)
        self._thread.join(1.0)
        self.node.destroy_node()

    def want_filtered(self) -> None:
        if self._filtered is None:
            self._filtered = self.node.create_subscription(PointCloud2, "filtered", self.filtered.append, 20)

    def _hear(self, message: DiagnosticArray) -> None:
        for status in message.status:
            who, _, part = status.name.partition(": ")
            if who.split("/")[-1] == self.name:
                self.statuses[part] = (status.level, status.message, {v.key: v.value for v in status.values})

    def wait(self, condition: Callable[[], object], timeout: float = 20.0) -> bool:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.01)
        return bool(condition())

    def connected(self) -> bool:
        """Both directions are discovered."""
        return self.points.get_subscription_count() > 0 and self.node.count_publishers("segmented") > 0

    def send(self, message: PointCloud2) -> tuple[int, int]:
        """Publish with the time of now; returns the stamp."""
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        self.points.publish(message)
        return message.header.stamp.sec, message.header.stamp.nanosec

    def answer(self, message: PointCloud2, timeout: float = 20.0) -> PointCloud2:
        """Send one cloud and return its labelled form."""
        stamp = self.send(message)
        assert self.wait(lambda: any(stamp_of(m) == stamp for m in list(self.segmented)), timeout), "no answer"
        return next(m for m in self.segmented if stamp_of(m) == stamp)

    def call(self, service_type: type, service: str, request: object, timeout: float = 60.0):
        client = self.node.create_client(service_type, f"/{self.name}/{service}")
        try:
            assert client.wait_for_service(20.0), f"no service {service}"
            future = client.call_async(request)
            assert self.wait(future.done, timeout), f"no answer from {service}"
            return future.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        request.transition.id = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}[label]
        return self.call(ChangeState, "change_state", request).success

    def request_transition(self, number: int) -> bool:
        """Ask for a transition by its number alone, as lifecycle managers do."""
        request = ChangeState.Request()
        request.transition.id = number
        return self.call(ChangeState, "change_state", request, 5.0).success

    def delete(self, name: str) -> tuple[bool, str]:
        """Set a parameter to nothing; returns whether it was taken, and the reason if not."""
        request = SetParameters.Request(parameters=[Parameter(name=name, value=ParameterValue())])
        result = self.call(SetParameters, "set_parameters", request).results[0]
        return result.successful, result.reason

    def state(self) -> str:
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def set(self, name: str, value: object) -> tuple[bool, str]:
        """Set a parameter; returns whether it was taken, and the reason if not."""
        kinds = {
            bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
            int: (ParameterType.PARAMETER_INTEGER, "integer_value"),
            float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
            str: (ParameterType.PARAMETER_STRING, "string_value"),
            list: (ParameterType.PARAMETER_STRING_ARRAY, "string_array_value"),
        }
        kind, field = kinds[type(value)]
        parameter = Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))
        result = self.call(SetParameters, "set_parameters", SetParameters.Request(parameters=[parameter])).results[0]
        return result.successful, result.reason


def stamp_of(message: PointCloud2) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def cloud(xyz: np.ndarray, intensity: np.ndarray | None = None, frame: str = "lidar") -> PointCloud2:
    """An unorganised cloud of float32 x, y, z and intensity."""
    columns = [*np.asarray(xyz, np.float32).reshape(-1, 3).T]
    columns.append(np.zeros(len(columns[0]), np.float32) if intensity is None else intensity.astype(np.float32))
    message = PointCloud2(height=1, width=len(columns[0]), point_step=16, row_step=16 * len(columns[0]), is_dense=False)
    message.header.frame_id = frame
    message.fields = [
        PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(("x", "y", "z", "intensity"))
    ]
    message.data = array.array("B", np.stack(columns, 1).astype("<f4").tobytes())
    return message


def street(points: int = 4000, seed: int = 0) -> PointCloud2:
    """Points on flat ground and a wall, as a sensor 1.8 m above the ground would see."""
    generator = np.random.default_rng(seed)
    xyz = generator.uniform((-20, -20, -1.8), (20, 20, -1.7), (points, 3))
    xyz[::4] = generator.uniform((8, -20, -1.8), (8.1, 20, 3), (len(xyz[::4]), 3))
    return cloud(xyz, generator.uniform(0, 1, points))


def real_clouds(folder: Path, topic: str) -> list[PointCloud2]:
    """The clouds of a topic in the recorded bag, as rclpy messages."""
    from rosbags.highlevel import AnyReader

    found = []
    with AnyReader([folder / "real_lidar"]) as reader:
        for connection, _, raw in reader.messages([c for c in reader.connections if c.topic == topic]):
            m = reader.deserialize(raw, connection.msgtype)
            copy = PointCloud2(
                height=m.height,
                width=m.width,
                point_step=m.point_step,
                row_step=m.row_step,
                is_bigendian=bool(m.is_bigendian),
                is_dense=bool(m.is_dense),
                fields=[PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count) for f in m.fields],
            )
            copy.header.frame_id = m.header.frame_id
            copy.data = array.array("B", m.data.tobytes())
            found.append(copy)
    return found


def column(message: PointCloud2, name: str) -> np.ndarray:
    """A field of a cloud, [N]; written here anew, so that a mistake of the codec does not hide itself."""
    dtypes = {2: "u1", 4: "u2", 6: "u4", 7: "f4", 8: "f8"}
    f = next(f for f in message.fields if f.name == name)
    dtype = np.dtype(dtypes[f.datatype]).newbyteorder(">" if message.is_bigendian else "<")
    points = message.width * message.height
    return np.ndarray(points, dtype, message.data, f.offset, message.point_step) if points else np.empty(0, dtype)


def start(
    log: Path, model: Path, *arguments: str, active: bool = True, matched: bool = True, **peer: object
) -> tuple[NodeProcess, Peer]:
    """A node process and a peer, once the node reports and, unless told otherwise, is active and matched with it."""
    process = NodeProcess(log, "-p", f"model:={model}", *arguments)
    friend = Peer(**peer)  # type: ignore[arg-type]

    def ready() -> bool:
        return ("clouds" if active else "model") in friend.statuses and (friend.connected() or not (active and matched))

    ok = friend.wait(lambda: ready() or not process.alive(), 90.0) and process.alive()
    assert ok, f"the node did not start:\n{process.log}"
    return process, friend
