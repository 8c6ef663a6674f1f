# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Small recordings for the tests of srkd-replay: a street of a few thousand points that moves a little per cloud."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
CLOUD = "sensor_msgs/msg/PointCloud2"
ROAD, CAR, BUILDING = 40, 10, 50  # raw ids of SemanticKITTI
START = 1_700_000_000 * 10**9  # ns


def street(index: int, points: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, 4] x y z intensity and uint32 raw labels [N]."""
    rng = np.random.default_rng(index)
    n = points // 3
    road = np.c_[rng.uniform(-25, 25, (n, 2)), rng.normal(-1.7, 0.01, n)]
    car = np.c_[rng.uniform(5, 9, n) + 0.05 * index, rng.uniform(-2, 0, n), rng.uniform(-1.6, -0.2, n)]
    wall = np.c_[rng.uniform(-25, 25, n), np.full(n, 12.0), rng.uniform(-1.7, 5, n)]
    xyz = np.concatenate([road, car, wall])
    raw = np.repeat(np.array([ROAD, CAR, BUILDING], np.uint32), n)
    raw[::17] = 0  # without a truth
    return np.c_[xyz, rng.uniform(0, 1, len(xyz))].astype(np.float32), raw


def cloud(points: np.ndarray, stamp: int, label: np.ndarray | None = None, frame: str = "lidar"):
    """A rosbags PointCloud2 of x y z intensity [and label]."""
    t = STORE.types
    columns = [points] if label is None else [points, label.astype(np.uint32).view(np.float32)[:, None]]
    data = np.ascontiguousarray(np.concatenate(columns, 1))
    names = ("x", "y", "z", "intensity", "label")[: data.shape[1]]
    field = t["sensor_msgs/msg/PointField"]
    return t[CLOUD](
        header=t["std_msgs/msg/Header"](t["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9), frame),
        height=1,
        width=len(data),
        fields=[field(n, 4 * i, 6 if n == "label" else 7, 1) for i, n in enumerate(names)],
        is_bigendian=False,
        point_step=4 * data.shape[1],
        row_step=data.nbytes,
        data=data.reshape(-1).view(np.uint8),
        is_dense=True,
    )


def write_bag(path: Path, clouds: int = 6, plugin: StoragePlugin = StoragePlugin.MCAP, labels: bool = False) -> Path:
    """/points at 10 Hz with the class id in a label field; with `labels` also /labels, every second cloud of it."""
    from srkd_ros.labels import LabelSet

    classes = LabelSet.load("semantickitti")
    with Writer(path, version=8, storage_plugin=plugin) as writer:
        connection = writer.add_connection("/points", CLOUD, typestore=STORE)
        extra = writer.add_connection("/labels", CLOUD, typestore=STORE) if labels else None
        for i in range(clouds):
            points, raw = street(i)
            stamp = START + i * 10**8
            message = cloud(points, stamp, classes.from_raw(raw))
            writer.write(connection, stamp + 10**6, STORE.serialize_cdr(message, CLOUD))
            if extra and i % 2 == 0:
                writer.write(extra, stamp + 2 * 10**6, STORE.serialize_cdr(message, CLOUD))
    return path


def write_clock_bag(
    path: Path, stamps: Sequence[float], unreadable: Collection[int] = (), labels: bool = False
) -> Path:
    """Clouds recorded at 10 Hz whose clock says `stamps`, in seconds since START; -inf: no stamp at all."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/points", CLOUD, typestore=STORE)
        extra = writer.add_connection("/labels", CLOUD, typestore=STORE) if labels else None
        for i, seconds in enumerate(stamps):
            points, _ = street(i)
            message = cloud(points, 0 if seconds == -np.inf else START + round(seconds * 1e9), np.full(len(points), i))
            if i in unreadable:
                message.data = message.data[:-40]
            for c in (connection, extra):
                if c:
                    writer.write(c, START + i * 10**8, STORE.serialize_cdr(message, CLOUD))
    return path


def write_bag1(path: Path, clouds: int = 6) -> Path:
    """The same clouds, without a label field, as a ROS 1 bag."""
    store = get_typestore(Stores.ROS1_NOETIC)
    t = store.types
    with Writer1(path) as writer:
        connection = writer.add_connection("/points", CLOUD, typestore=store)
        for i in range(clouds):
            stamp = START + i * 10**8
            two = cloud(street(i)[0], stamp)
            time = t["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
            one = t[CLOUD](**{**vars(two), "header": t["std_msgs/msg/Header"](i, time, "lidar")})
            writer.write(connection, stamp, store.serialize_ros1(one, CLOUD))
    return path


def write_labels(folder: Path, clouds: int = 6) -> Path:
    folder.mkdir(parents=True)
    for i in range(clouds):
        (street(i)[1] | (i << 16)).astype(np.uint32).tofile(folder / f"{i:06d}.label")  # upper half: the instance
    return folder


def write_kitti(folder: Path, clouds: int = 6) -> Path:
    """A sequence in SemanticKITTI layout with the same scans."""
    (folder / "velodyne").mkdir(parents=True)
    for i in range(clouds):
        street(i)[0].tofile(folder / "velodyne" / f"{i:06d}.bin")
    write_labels(folder / "labels", clouds)
    return folder


def replay(*arguments, output: Path):
    """Run the command; returns the run's folder and its metrics."""
    from srkd_ros.replay import cli

    assert cli.main([*map(str, arguments), "-o", str(output)]) == 0
    folder = (output / "latest").resolve()
    return folder, json.loads((folder / "metrics.json").read_text())


def labelled(folder):
    """The labelled bag's clouds: stamp -> (labels, confidence)."""
    from srkd_ros import pointcloud2
    from srkd_ros.replay.messages import decode
    from srkd_ros.replay.storage import Record

    found = {}
    with Reader(folder / "labelled") as reader:
        for connection, time, data in reader.messages():
            if connection.msgtype.endswith("PointCloud2"):
                message = decode(Record(connection.topic, connection.msgtype, time, data, False))
                stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                found[stamp] = tuple(pointcloud2.read_field(message, n) for n in ("label", "confidence"))
    return found
