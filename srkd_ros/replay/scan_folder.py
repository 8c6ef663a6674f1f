# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Folders of scans as inputs: float32 files in SemanticKITTI's or nuScenes's form, each read as a PointCloud2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from srkd_ros.errors import DataError
from srkd_ros.replay.messages import CLOUD_TYPE, typestore
from srkd_ros.replay.storage import Record

KITTI_FIELDS = ("x", "y", "z", "intensity")
NUSCENES_FIELDS = (*KITTI_FIELDS, "ring")  # intensity from 0 to 255
NUSCENES_SUFFIX = ".pcd.bin"
_FOLDERS = ("sequences/*/velodyne", "*/velodyne", "velodyne", "samples/LIDAR_TOP", "")
_RATE = 10.0  # Hz, of a folder without times.txt


class FolderInput:
    """Scans in the order of their names: *.bin in SemanticKITTI's form (float32 x y z intensity; labels/ and times.txt
    beside velodyne/), *.pcd.bin in that of nuScenes (float32 x y z intensity ring)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.parent if folder.name == "velodyne" else folder
        self.topic = folder.name
        self.damage: str | None = None
        self.files = sorted(folder.glob("*.bin"))
        self.count = len(self.files)
        times = self.path / "times.txt"
        self._times = np.loadtxt(times, ndmin=1) if times.is_file() else np.arange(self.count) / _RATE
        self.seconds = float(self._times[-1] - self._times[0]) if len(self._times) else 0.0

    def records(self, start: int | None = None) -> Iterator[tuple[Record, str]]:
        for i, file in enumerate(self.files):
            seconds = self._times[i] if i < len(self._times) else i / _RATE
            time = 10**9 + round(float(seconds) * 1e9)  # a second past 0, which would read as "no stamp"
            if start is None or time >= start:
                data = typestore().serialize_cdr(read_scan(file, time), CLOUD_TYPE)
                name = file.name.removesuffix(NUSCENES_SUFFIX).removesuffix(".bin")
                yield Record(self.topic, CLOUD_TYPE, time, data, False), f"{self.path.name}/{name}"


def scan_folders(path: Path) -> list[Path]:
    """The folders with .bin scans in a dataset of SemanticKITTI's layout or nuScenes, or in one sequence of it."""
    for pattern in _FOLDERS:
        folders = sorted(p for p in (path.glob(pattern) if pattern else [path]) if next(p.glob("*.bin"), None))
        if folders:
            return folders
    raise DataError(
        f"{path}: neither a bag (no metadata.yaml, .mcap, .db3) nor a dataset (no velodyne/*.bin or *.pcd.bin in it)"
    )


def read_scan(file: Path, stamp: int) -> Any:
    """A scan as a rosbags PointCloud2 with header.stamp `stamp` (ns): one float32 field for each number of a point.

    Of a file that ends within a point the message declares that point, too: so it is refused wherever it is read, here
    and by the node, as any cloud with less data than it declares.
    """
    names, frame = (NUSCENES_FIELDS, "LIDAR_TOP") if file.name.endswith(NUSCENES_SUFFIX) else (KITTI_FIELDS, "velodyne")
    types = typestore().types
    data = np.fromfile(file, np.uint8)
    step = 4 * len(names)
    points = -(-len(data) // step)
    field = types["sensor_msgs/msg/PointField"]
    return types[CLOUD_TYPE](
        header=types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame
        ),
        height=1,
        width=points,
        fields=[field(n, 4 * i, 7, 1) for i, n in enumerate(names)],
        is_bigendian=False,
        point_step=step,
        row_step=step * points,
        data=data,
        is_dense=False,
    )
