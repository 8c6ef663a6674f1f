# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The clouds that are measured: simulated sweeps, made once and cached, and recorded ones where they are at hand."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

SENSORS = ("vlp-16", "os1-64", "os1-128")
SEED = 7
TOWN = 7  # downtown: of the simulated streets the one whose share of returns is closest to recorded scans
_REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class BenchmarkCloud:
    """An organised sweep as its driver publishes it."""

    name: str
    structured: np.ndarray  # structured [H, W] with the driver's fields; empty returns as the driver shows them
    labels: np.ndarray  # uint32 [H, W], SemanticKITTI ids; 0 where there are none

    @property
    def points(self) -> int:
        return self.structured.size

    @property
    def xyz(self) -> np.ndarray:
        """float32 [N, 3]"""
        flat = self.structured.reshape(-1)
        return np.stack([flat["x"], flat["y"], flat["z"]], 1).astype(np.float32)

    @property
    def intensity(self) -> np.ndarray:
        """float32 [N], raw"""
        return np.ascontiguousarray(self.structured["intensity"].reshape(-1), np.float32)

    @property
    def returns(self) -> np.ndarray:
        """float32 [M, 3]: the points that are returns, not empty."""
        xyz = self.xyz
        return xyz[np.isfinite(xyz).all(1) & xyz.any(1)]

    def message(self) -> Any:
        """The sweep as PointCloud2: rclpy's where it is installed, else rosbags'."""
        layout: Any = self.structured.dtype.fields
        fields = [(name, offset, _DATATYPE[kind.str[1:]]) for name, (kind, offset, *_) in layout.items()]
        raw = np.frombuffer(self.structured.tobytes(), np.uint8)
        try:
            return _rclpy_message(self.structured, fields, raw)
        except ImportError:
            return _rosbags_message(self.structured, fields, raw)


_DATATYPE = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}  # sensor_msgs/PointField


def simulated(name: str, columns: int | None = None) -> BenchmarkCloud:
    """One sweep of a sensor in a simulated street; the same bytes on every machine."""
    cache = _cache() / f"{name}-{columns or 'full'}-{_simulation_hash()}.npz"
    if not cache.is_file():
        _simulate(name, columns, cache)
    with np.load(cache, allow_pickle=False) as file:
        return BenchmarkCloud(name, file["structured"], file["labels"])


def dense() -> BenchmarkCloud:
    """120,000 returns of 64 beams that turn slowly: as many as the largest sensors give, and no empty rays."""
    cloud = simulated("os1-64", 2400)
    flat, labels = cloud.structured.reshape(1, -1), cloud.labels.reshape(1, -1)
    returned = np.flatnonzero(cloud.xyz.any(1))
    chosen = returned[np.linspace(0, len(returned) - 1, 120_000).astype(np.int64)]
    return BenchmarkCloud("120k", flat[:, chosen], labels[:, chosen])


def nuscenes() -> BenchmarkCloud | None:
    """The recorded HDL-32E sweep of the shared test data, or None."""
    path = _shared() / "nuscenes" / "lidar_top.pcd.bin"
    if not path.is_file():
        return None
    values = np.fromfile(path, np.float32).reshape(-1, 5)
    kind = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")]
    structured = np.zeros((1, len(values)), kind)
    for column, field in enumerate(("x", "y", "z", "intensity", "ring")):
        structured[field][0] = values[:, column]
    return BenchmarkCloud("nuscenes hdl-32e", structured, np.zeros(structured.shape, np.uint32))


def rellis() -> BenchmarkCloud | None:
    """The recorded OS1-64 scan of the shared test data, or None."""
    path = _shared() / "rellis3d" / "sequences" / "00" / "velodyne" / "000104.bin"
    if not path.is_file():
        return None
    values = np.fromfile(path, np.float32).reshape(64, -1, 4)
    structured = np.zeros(values.shape[:2], [(name, "<f4") for name in ("x", "y", "z", "intensity")])
    for column, field in enumerate(("x", "y", "z", "intensity")):
        structured[field] = values[..., column]
    return BenchmarkCloud("rellis os1-64", structured, np.zeros(structured.shape, np.uint32))


def of_size(points: int) -> np.ndarray:
    """Returns float32 [points, 3] of an OS1-128 that turns as slowly as that many need; the street does not grow."""
    columns = -(-points // 100)  # about 105 of 128 rays return
    returns = simulated("os1-128", columns).returns
    return returns[np.linspace(0, len(returns) - 1, points).astype(np.int64)]


def points_hash(xyz: np.ndarray) -> str:
    """Tells two versions of a cloud apart in a committed table."""
    return hashlib.sha256(np.ascontiguousarray(xyz).tobytes()).hexdigest()[:12]


def tensor(values: np.ndarray, device: str = "cpu") -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def _simulate(name: str, columns: int | None, cache: Path) -> None:
    from srkd_train.simulation import build_town, sensor_model, simulate_scan
    from srkd_train.simulation.bag import organised

    sensor = sensor_model(name)
    if columns is not None:
        sensor = dataclasses.replace(sensor, columns=columns)
    scan = simulate_scan(build_town(SEED, TOWN, length=60.0), sensor, time=2.0, seed=SEED)
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name(f".{cache.stem}.{os.getpid()}.npz")
    try:
        np.savez(temporary, structured=organised(scan, sensor), labels=scan.raw_ids)
        os.replace(temporary, cache)
    finally:
        temporary.unlink(missing_ok=True)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "srkd_ros" / "benchmarks"


def _shared() -> Path:
    return Path(os.environ.get("SRKD_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))


def _simulation_hash() -> str:
    """Of the simulation's source: another version makes other clouds."""
    digest = hashlib.sha256()
    for path in sorted((_REPOSITORY / "srkd_train" / "simulation").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _rclpy_message(cloud: np.ndarray, fields: list[tuple[str, int, int]], raw: np.ndarray) -> Any:
    import array

    from sensor_msgs.msg import PointCloud2, PointField

    message = PointCloud2()
    message.header.frame_id = "sensor"
    message.height, message.width = cloud.shape
    message.fields = [PointField(name=n, offset=o, datatype=d, count=1) for n, o, d in fields]
    message.point_step, message.row_step = cloud.itemsize, cloud.itemsize * cloud.shape[1]
    message.data = array.array("B", raw.tobytes())
    message.is_dense = False
    return message


def _rosbags_message(cloud: np.ndarray, fields: list[tuple[str, int, int]], raw: np.ndarray) -> Any:
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_JAZZY).types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "sensor")
    made = [types["sensor_msgs/msg/PointField"](name, offset, kind, 1) for name, offset, kind in fields]
    return types["sensor_msgs/msg/PointCloud2"](
        header, *cloud.shape, made, False, cloud.itemsize, cloud.itemsize * cloud.shape[1], raw, False
    )
