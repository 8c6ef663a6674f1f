# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Target frames: the transform of tf2's messages, its failures, and outputs moved in place whatever their layout."""

import array
import importlib.util
import sys
import types

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from node_harness import NodeProcess, cloud, column
from rclpy.time import Time
from sensor_msgs.msg import PointCloud2, PointField

from srkd_ros.errors import CloudError
from srkd_ros.labels import LabelSet
from srkd_ros.node import settings
from srkd_ros.node.frames import from_quaternion, from_rpy
from srkd_ros.node.target_frame import TargetFrame
from srkd_ros.node.work import Labelled, Work, move

HALF = np.sqrt(0.5)
QUARTER_TURN = from_quaternion(0, 0, HALF, HALF, (10.0, 0.0, 1.0))  # x to y, then forward and up


@pytest.mark.parametrize(("code", "kind"), [(7, "f4"), (8, "f8")])
@pytest.mark.parametrize("order", ["<", ">"])
def test_outputs_are_moved_in_place(code, kind, order):
    step, size = 40, np.dtype(kind).itemsize
    message = PointCloud2(height=2, width=3, point_step=step, row_step=3 * step, is_bigendian=order == ">")
    message.fields = [PointField(name=n, offset=3 + i * size, datatype=code, count=1) for i, n in enumerate("xyz")]
    data = bytearray(6 * step)
    xyz = np.arange(18.0).reshape(6, 3)
    for i in range(3):
        np.ndarray(6, np.dtype(order + kind), data, 3 + i * size, step)[:] = xyz[:, i]
    message.data = array.array("B", bytes(data))
    move(message, QUARTER_TURN)
    moved = np.stack([column(message, n) for n in "xyz"], 1)
    assert moved == pytest.approx(np.stack([10 - xyz[:, 1], xyz[:, 0], xyz[:, 2] + 1], 1), abs=1e-5)


def millimetres() -> PointCloud2:
    """A cloud whose coordinates are integers."""
    message = PointCloud2(height=1, width=2, point_step=6, row_step=12)
    message.fields = [PointField(name=n, offset=2 * i, datatype=4, count=1) for i, n in enumerate("xyz")]
    message.data = array.array("B", np.arange(1, 7, dtype="<u2").tobytes())
    return message


@pytest.mark.parametrize("keep", [False, True])
def test_integer_coordinates_are_moved_where_there_is_room(keep):
    kept = {name: p.default for name, p in settings.PARAMETERS.items()} | {"keep_input_fields": keep}
    chosen = settings.check({**kept, "target_frame": "base_link", "transform_output": True})
    labels = LabelSet.load("semantickitti")
    work = Work(types.SimpleNamespace(labels=labels), chosen, None, None, np.zeros(256, bool))
    labelled = Labelled(np.zeros(2, np.uint8), np.ones(2, np.float32), {}, 2, None)
    if keep:
        with pytest.raises(CloudError, match=r"'x' of the cloud holds integers.*keep_input_fields") as caught:
            work.segmented(millimetres(), labelled, QUARTER_TURN)
        assert "\n" not in str(caught.value)
        return
    out = work.segmented(millimetres(), labelled, QUARTER_TURN)
    assert out.header.frame_id == "base_link"
    moved = np.stack([column(out, n) for n in "xyz"], 1)
    assert moved == pytest.approx(np.array([[8, 1, 4], [5, 4, 7]]), abs=1e-5)


class StandIn(types.ModuleType):
    """tf2_ros is not among the rclpy wheels: this knows one transform, by name and time."""

    class TransformException(Exception):
        pass

    class TransformListener:
        def __init__(self, *_, **__):
            pass

        def unregister(self):
            pass

    class Buffer:
        def __init__(self, **_):
            pass

        def lookup_transform(self, target, source, time, timeout):
            assert isinstance(time, Time)
            if (target, source) != ("base_link", "lidar"):
                raise StandIn.TransformException(f'"{source}" does not exist\nand more')
            found = TransformStamped()
            found.transform.translation.x, found.transform.translation.z = 10.0, 1.0
            found.transform.rotation.z = found.transform.rotation.w = float(HALF)
            return found


def test_transform_of_a_cloud(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", StandIn("tf2_ros"))
    target = TargetFrame(None, "base_link")
    message = cloud(np.array([[1.0, 2.0, 3.0]]))
    assert target.pose(message.header)(np.array([[1.0, 2.0, 3.0]], np.float32))[0] == pytest.approx([8, 1, 4])
    message.header.frame_id = "unknown"
    with pytest.raises(CloudError, match="no transform from 'unknown' to 'base_link'") as caught:
        target.pose(message.header)
    assert "\n" not in str(caught.value)
    target.close()
    assert np.allclose(from_rpy(0, 0, np.pi / 2).rotation, QUARTER_TURN.rotation)


@pytest.mark.skipif(importlib.util.find_spec("tf2_ros") is not None, reason="tf2 is installed")
def test_without_tf2_the_node_says_what_to_do(tmp_path, quick_student_file):
    arguments = ["-p", f"model:={quick_student_file}", "-p", "target_frame:=base_link"]
    process = NodeProcess(tmp_path / "log.txt", *arguments)
    assert process.process.wait(60.0) == 2
    assert "sensor_rpy" in process.log
