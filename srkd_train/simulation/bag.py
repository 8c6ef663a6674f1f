# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Simulated sweeps as a rosbag2 (mcap) of PointCloud2, in the field layouts of the Ouster and Velodyne drivers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from srkd_train.simulation.scanner import SimulatedScan
from srkd_train.simulation.sensors import Sensor

FULL_SCALE = 255.0
"""What the clouds' intensity shows for 1.0, for both drivers: dividing by it gives the .bin files' values."""

# offset and type of each field as the drivers publish them; both clouds are little-endian
OUSTER = np.dtype(
    {
        "names": ["x", "y", "z", "intensity", "t", "reflectivity", "ring", "ambient", "range"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u4", "<u2", "<u2", "<u2", "<u4"],
        "offsets": [0, 4, 8, 16, 20, 24, 26, 28, 32],
        "itemsize": 48,
    }
)
VELODYNE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")])
_DATATYPE = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}  # sensor_msgs/PointField


def organised(scan: SimulatedScan, sensor: Sensor, seed: int = 0) -> np.ndarray:
    """A sweep as the driver's structured array [H, W]; rays without a return are zeros (Ouster) or NaN (Velodyne)."""
    rings, columns = scan.intensity.shape
    period = 1.0 / sensor.rate
    firing = np.arange(columns) * (period / columns)
    ring = np.arange(rings)[:, None]
    if sensor.family == "velodyne":
        cloud = np.zeros((rings, columns), VELODYNE)
        cloud["intensity"] = np.round(scan.intensity * FULL_SCALE)
        cloud["time"] = firing - period  # the Velodyne driver stamps the end of the sweep
    else:
        cloud = np.zeros((rings, columns), OUSTER)
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0xA3B]))
        cloud["intensity"] = np.round(scan.intensity * FULL_SCALE)
        cloud["reflectivity"] = cloud["intensity"]
        cloud["ambient"] = rng.poisson(60, (rings, columns))
        cloud["t"] = np.round(firing * 1e9)
        cloud["range"] = np.round(np.linalg.norm(scan.xyz, axis=-1) * 1000)
    empty = np.float32(np.nan if sensor.family == "velodyne" else 0.0)
    xyz = np.where(scan.returned[..., None], scan.xyz, empty)
    cloud["x"], cloud["y"], cloud["z"] = np.moveaxis(xyz, -1, 0)
    cloud["ring"] = ring
    return cloud


def write_bag(
    folder: Path,
    scans: Iterable[SimulatedScan],
    sensor: Sensor,
    topic: str = "/points",
    frame: str = "sensor",
    start: float = 1_700_000_000.0,
    seed: int = 0,
) -> Path:
    """A rosbag2 folder (mcap storage, Jazzy types) with one cloud a scan, stamped start + its time (seconds)."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    layout: Any = (VELODYNE if sensor.family == "velodyne" else OUSTER).fields
    store = get_typestore(Stores.ROS2_JAZZY)
    t = store.types
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The writer wants a folder that does not exist, and a killed run must leave no half bag under the final name.
    # Its folder's name is also the name of the file inside, hence a parent of its own.
    workshop = folder.with_name(folder.name + ".tmp")
    for stale in (workshop, folder):
        shutil.rmtree(stale, ignore_errors=True)
    workshop.mkdir()
    with Writer(workshop / folder.name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(topic, "sensor_msgs/msg/PointCloud2", typestore=store)
        for scan in scans:
            cloud = organised(scan, sensor, seed)
            nanoseconds = round(start * 1e9) + round(scan.time * 1e9)
            stamp = t["builtin_interfaces/msg/Time"](*divmod(nanoseconds, 1_000_000_000))
            fields = [
                t["sensor_msgs/msg/PointField"](name, offset, _DATATYPE[kind.str[1:]], 1)
                for name, (kind, offset) in layout.items()
            ]
            message = t["sensor_msgs/msg/PointCloud2"](
                header=t["std_msgs/msg/Header"](stamp, frame),
                height=cloud.shape[0],
                width=cloud.shape[1],
                fields=fields,
                is_bigendian=False,
                point_step=cloud.dtype.itemsize,
                row_step=cloud.dtype.itemsize * cloud.shape[1],
                data=np.frombuffer(cloud.tobytes(), np.uint8),
                is_dense=False,
            )
            writer.write(connection, nanoseconds, store.serialize_cdr(message, connection.msgtype))
    os.replace(workshop / folder.name, folder)
    workshop.rmdir()
    return folder
