# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The PointCloud2 codec on ordinary messages: views, output layout, selection, real recordings, other readers."""

import array

import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError

pytestmark = pytest.mark.usefixtures("either_way")

STORE = get_typestore(Stores.ROS2_JAZZY)
CLOUD = "sensor_msgs/msg/PointCloud2"
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
XYZI = [("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1), ("intensity", 12, 7, 1)]


def rosbags_cloud(fields, step, data, height=1, width=0, row_step=None, big=False):
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=12, nanosec=34)
    kind = types["sensor_msgs/msg/PointField"]
    return types[CLOUD](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="lidar"),
        height=height,
        width=width,
        fields=[kind(*f) for f in fields],
        is_bigendian=big,
        point_step=step,
        row_step=width * step if row_step is None else row_step,
        data=np.frombuffer(data, np.uint8),
        is_dense=False,
    )


def rclpy_cloud(*args, **kwargs):
    messages = pytest.importorskip("sensor_msgs.msg")
    given = rosbags_cloud(*args, **kwargs)
    made = messages.PointCloud2()
    made.header.frame_id, made.header.stamp.sec = "lidar", 12
    made.header.stamp.nanosec = 34
    made.fields = [
        messages.PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count) for f in given.fields
    ]
    for name in ("height", "width", "is_bigendian", "point_step", "row_step", "is_dense"):
        setattr(made, name, getattr(given, name))
    made.data = array.array("B", given.data.tobytes())
    return made


@pytest.fixture(params=[rosbags_cloud, rclpy_cloud], ids=["rosbags", "rclpy"])
def make(request):
    return request.param


def random_points(points=24, seed=0):
    return np.random.default_rng(seed).normal(size=(points, 4)).astype(np.float32)


def answers(points, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, points).astype(np.uint8), rng.random(points, dtype=np.float32)


def test_read_is_a_view_that_torch_can_use(make):
    points = random_points()
    msg = make(XYZI, 16, points.tobytes(), width=24)
    cloud = pointcloud2.read(msg)
    np.testing.assert_array_equal(cloud.xyz, points[:, :3])
    np.testing.assert_array_equal(cloud.intensity, points[:, 3])
    assert (cloud.intensity_field, cloud.intensity_full_scale, len(cloud)) == ("intensity", None, 24)
    memory = np.frombuffer(msg.data, np.uint8)
    assert np.shares_memory(cloud.xyz, memory)
    assert np.shares_memory(cloud.intensity, memory)
    np.testing.assert_array_equal(torch.tensor(cloud.xyz), points[:, :3])


def test_unaligned_points_are_copied_so_that_torch_takes_them():
    points = random_points()
    packed = np.zeros(24, np.dtype({"names": ["p", "t"], "formats": ["4f4", "f4"], "offsets": [0, 18], "itemsize": 22}))
    packed["p"] = points
    cloud = pointcloud2.read(rosbags_cloud([*XYZI, ("time", 18, 7, 1)], 22, packed.tobytes(), width=24))
    np.testing.assert_array_equal(torch.from_numpy(cloud.xyz), points[:, :3])
    np.testing.assert_array_equal(torch.from_numpy(cloud.intensity), points[:, 3])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, list, array.array, np.ndarray])
def test_any_sequence_of_bytes_serves_as_data(kind):
    points = random_points()
    msg = rosbags_cloud(XYZI, 16, points.tobytes(), width=24)
    raw = points.tobytes()
    msg.data = (
        array.array("B", raw) if kind is array.array else np.frombuffer(raw, "u1") if kind is np.ndarray else kind(raw)
    )
    np.testing.assert_array_equal(pointcloud2.read(msg).xyz, points[:, :3])


@pytest.mark.parametrize(
    ("names", "datatypes", "chosen", "full_scale"),
    [
        (["reflectivity", "intensity"], [4, 7], "intensity", None),
        (["Intensity"], [2], "Intensity", 255.0),
        (["i", "signal"], [4, 4], "i", 65535.0),
        (["signal", "reflectivity"], [6, 4], "reflectivity", None),
        (["reflectivity"], [2], "reflectivity", 255.0),
        (["remission"], [8], "remission", None),
        (["ring"], [4], None, None),
    ],
)
def test_choice_of_intensity(names, datatypes, chosen, full_scale):
    fields = [*XYZI[:3], *((n, 12 + 8 * i, d, 1) for i, (n, d) in enumerate(zip(names, datatypes, strict=True)))]
    msg = rosbags_cloud(fields, 32, bytes(32 * 5), width=5)
    cloud = pointcloud2.read(msg)
    assert (cloud.intensity_field, cloud.intensity_full_scale) == (chosen, full_scale)
    assert (cloud.intensity is None) == (chosen is None)
    assert pointcloud2.read(msg, "").intensity is None
    assert pointcloud2.read(msg, names[0]).intensity_field == names[0]
    with pytest.raises(CloudError, match="no intensity field 'echo'"):
        pointcloud2.read(msg, "echo")


def test_write_has_the_contracted_layout(make):
    points = random_points()
    labels, confidence = answers(24)
    msg = make(XYZI, 16, points.tobytes(), height=4, width=6)
    out = pointcloud2.write(msg, labels, confidence, PALETTE)
    assert type(out) is type(msg)
    assert out.header == msg.header
    assert (out.height, out.width, out.point_step, out.row_step, out.is_dense) == (4, 6, 24, 144, True)
    assert [(f.name, f.offset, f.datatype, f.count) for f in out.fields] == [
        *XYZI[:3],
        ("rgb", 12, 7, 1),
        ("label", 16, 6, 1),
        ("confidence", 20, 7, 1),
    ]
    np.testing.assert_array_equal(pointcloud2.read(out).xyz, points[:, :3])
    np.testing.assert_array_equal(pointcloud2.read_field(out, "label"), labels)
    np.testing.assert_array_equal(pointcloud2.read_field(out, "confidence"), confidence)
    b, g, r, zero = pointcloud2.read_field(out, "rgb").copy().view(np.uint8).reshape(-1, 4).T
    np.testing.assert_array_equal(np.stack([r, g, b], 1), PALETTE[labels])
    assert not zero.any()


def test_write_says_whether_it_is_dense():
    points = random_points()
    points[3, 1] = np.nan
    out = pointcloud2.write(rosbags_cloud(XYZI, 16, points.tobytes(), width=24), *answers(24), PALETTE)
    assert out.is_dense is False
    np.testing.assert_array_equal(pointcloud2.read(out).xyz, points[:, :3])


@pytest.mark.parametrize("big", [False, True])
def test_input_fields_kept_come_first(make, big):
    points = random_points()
    order = ">" if big else "<"
    record = np.zeros(24, np.dtype([("p", f"{order}f4", 4), ("label", f"{order}u2")]))
    record["p"], record["label"] = points, 7
    labels, confidence = answers(24)
    msg = make([*XYZI, ("label", 16, 4, 1)], 18, record.tobytes(), width=24, big=big)
    out = pointcloud2.write(msg, labels, confidence, PALETTE, keep_input_fields=True)
    assert [(f.name, f.offset) for f in out.fields] == [
        *((n, o) for n, o, *_ in XYZI),
        ("rgb", 20),
        ("label", 24),
        ("confidence", 28),
    ]
    assert (out.point_step, out.is_bigendian) == (32, big)
    cloud = pointcloud2.read(out)
    np.testing.assert_array_equal(np.c_[cloud.xyz, cloud.intensity], points)
    np.testing.assert_array_equal(pointcloud2.read_field(out, "label"), labels)
    np.testing.assert_array_equal(pointcloud2.read_field(out, "confidence"), confidence)


def test_select_keeps_the_layout(make):
    points = random_points()
    keep = np.random.default_rng(2).random(24) < 0.4
    msg = make(XYZI, 16, points.tobytes(), height=4, width=6)
    out = pointcloud2.select(msg, keep)
    assert (out.height, out.width, out.header, list(out.fields)) == (1, keep.sum(), msg.header, list(msg.fields))
    cloud = pointcloud2.read(out)
    np.testing.assert_array_equal(np.c_[cloud.xyz, cloud.intensity], points[keep])
    nothing = pointcloud2.select(msg, np.zeros(24, bool))
    assert not pointcloud2.has_points(nothing)
    assert len(nothing.data) == 0


@pytest.mark.parametrize("fields", [XYZI, []])
def test_empty_clouds(make, fields):
    msg = make(fields, 0, b"", height=0, width=17)
    assert not pointcloud2.has_points(msg)
    assert pointcloud2.read(msg).xyz.shape == (0, 3)
    assert len(pointcloud2.read_field(msg, "label")) == 0
    out = pointcloud2.write(msg, np.empty(0, np.uint8), np.empty(0, np.float32), PALETTE)
    assert (out.height, out.width, len(out.data), len(out.fields)) == (0, 17, 0, 6)
    assert pointcloud2.select(msg, np.empty(0, bool)).width == 0
    if make is rosbags_cloud:
        STORE.serialize_cdr(out, CLOUD)


def test_wrong_lengths_are_the_callers_fault():
    msg = rosbags_cloud(XYZI, 16, bytes(16 * 3), width=3)
    with pytest.raises(ValueError, match="3 points"):
        pointcloud2.write(msg, np.zeros(2, np.uint8), np.zeros(3, np.float32), PALETTE)
    for labels, palette in ((np.zeros(3, int), PALETTE), (np.zeros(3, np.uint8), PALETTE[:20])):
        with pytest.raises(ValueError, match="expected uint8"):
            pointcloud2.write(msg, labels, np.zeros(3, np.float32), palette)
    with pytest.raises(ValueError, match="bool"):
        pointcloud2.select(msg, np.zeros(3, np.uint8))


def test_real_recordings(shared_data):
    with AnyReader([shared_data / "real_lidar"]) as bag:
        for connection, _, raw in bag.messages():
            msg = bag.deserialize(raw, connection.msgtype)
            cloud = pointcloud2.read(msg)
            assert np.isfinite(cloud.xyz).all()
            assert 20 < np.linalg.norm(cloud.xyz, axis=1).max() < 300
            assert cloud.intensity.max() == 255
            labels, confidence = answers(len(cloud))
            out = bag.deserialize(
                bag.typestore.serialize_cdr(pointcloud2.write(msg, labels, confidence, PALETTE), CLOUD), CLOUD
            )
            np.testing.assert_array_equal(pointcloud2.read(out).xyz, cloud.xyz)
            np.testing.assert_array_equal(pointcloud2.read_field(out, "label"), labels)
            assert (out.height, out.width, out.header) == (msg.height, msg.width, msg.header)
            if connection.topic == "/ouster/points":
                assert np.shares_memory(cloud.xyz, msg.data)
                assert pointcloud2.read(msg, "reflectivity").intensity_full_scale is None
                kept = pointcloud2.write(msg, labels, confidence, PALETTE, keep_input_fields=True)
                for field in msg.fields:
                    np.testing.assert_array_equal(
                        pointcloud2.read_field(kept, field.name), pointcloud2.read_field(msg, field.name)
                    )


def test_agrees_with_sensor_msgs_py():
    theirs = pytest.importorskip("sensor_msgs_py.point_cloud2")
    points = random_points()
    msg = rclpy_cloud(XYZI, 16, points.tobytes(), width=24)
    read = theirs.read_points(msg, field_names=["x", "y", "z", "intensity"])
    cloud = pointcloud2.read(msg)
    for i, name in enumerate("xyz"):
        np.testing.assert_array_equal(cloud.xyz[:, i], read[name])
    labels, confidence = answers(24)
    written = theirs.read_points(pointcloud2.write(msg, labels, confidence, PALETTE))
    np.testing.assert_array_equal(written["label"], labels)
    np.testing.assert_array_equal(written["confidence"], confidence)
