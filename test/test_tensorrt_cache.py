# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Engine files: a plan is used for exactly what it was built for, and never when damaged. Needs no TensorRT."""

import dataclasses
import os

import numpy as np
import pytest
import torch

from srkd_ros.errors import ConfigError, ModelError
from srkd_ros.geometry import GeometrySpec, LevelSpec, build_geometry, voxelize
from srkd_ros.network import PRESETS
from srkd_ros.runtimes import tensorrt_cache as cache
from srkd_ros.runtimes.tensorrt_engine import dimension_ranges

KEY = cache.EngineKey("0" * 64, "TensorRT 10.3.0", "Orin, compute capability 8.7", "fp16", 131_072, "profile 1")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder / "student[1].onnx"


def test_a_written_engine_is_found_again(model):
    path = cache.write(model, KEY, b"plan")
    assert path.parent == model.parent
    assert cache.find(model, KEY) == (b"plan", KEY, path)
    assert [p.name for p in model.parent.iterdir()] == [path.name], "no temporary file stays"


@pytest.mark.parametrize(
    "change",
    [
        {"model": "1" * 64},  # retrained
        {"tensorrt": "TensorRT 10.7.0"},
        {"tensorrt": "TensorRT-RTX 1.7.1"},
        {"gpu": "NVIDIA RTX A2000, compute capability 8.6"},
        {"precision": "fp32"},
        {"points": 262_144},  # a larger sensor
        {"profile": "profile 2"},  # a version of this program that counts voxels another way
    ],
)
def test_a_foreign_engine_is_not_used(model, change):
    other = dataclasses.replace(KEY, **change)
    cache.write(model, KEY, b"plan")
    assert cache.find(model, other) is None
    assert other.digest() != KEY.digest()
    path = cache.write(model, other, b"other plan")  # both may lie side by side
    assert cache.find(model, other) == (b"other plan", other, path)


def test_the_smallest_engine_that_fits_serves(model):
    for points in (262_144, 131_072, 28_928):
        cache.write(model, dataclasses.replace(KEY, points=points), str(points).encode())

    def plan(points):
        found = cache.find(model, dataclasses.replace(KEY, points=points))
        return None if found is None else int(found[0])

    assert [plan(n) for n in (1, 28_928, 28_929, 262_144, 262_145)] == [28_928, 28_928, 131_072, 262_144, None]


def test_without_a_number_of_points_the_engine_built_last_serves(model):
    paths = [cache.write(model, dataclasses.replace(KEY, points=n), b"%d" % n) for n in (65_536, 28_928, 131_072)]
    for path, when in zip(paths, (1000, 3000, 2000), strict=True):
        os.utime(path, (when, when))
    found = cache.find(model, dataclasses.replace(KEY, points=0))
    assert found is not None
    assert found[2] == paths[1]


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:30], lambda d: d[:-1] + b"?", lambda d: b"", bytes.lower]
)
def test_a_damaged_engine_is_not_used(model, damage, caplog):
    path = cache.write(model, KEY, b"PLAN" * 100)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError) as error:
        cache.read(path)
    assert "\n" not in str(error.value)
    assert cache.find(model, KEY) is None
    assert path.name in caplog.text
    cache.write(model, KEY, b"new")  # built again, in the same place
    assert cache.read(path) == (KEY, b"new")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_falls_back_to_the_cache(model):
    model.parent.chmod(0o500)
    path = cache.write(model, KEY, b"plan")
    assert path.parent == cache.cache_folder()
    assert cache.find(model, KEY) == (b"plan", KEY, path)


def test_a_folder_that_cannot_be_made_falls_back_to_the_cache(tmp_path):
    (tmp_path / "file").write_text("in the way")
    model = tmp_path / "file" / "student.onnx"
    path = cache.write(model, KEY, b"plan")
    assert path.parent == cache.cache_folder()


@pytest.mark.parametrize("name", PRESETS)
def test_profiles_are_ordered_and_begin_at_one_voxel(name):
    config = PRESETS[name]
    for points in (1, 28_800, 131_072, 262_144):
        for voxel_size in (0.02, 0.05, 0.3, 2.0):
            for dimension, (least, typical, largest) in dimension_ranges(config, points, voxel_size).items():
                assert 1 == least <= typical <= largest, dimension
                if dimension.startswith("width"):
                    assert largest <= config.patch_size
    with pytest.raises(ConfigError, match="--points"):
        dimension_ranges(config, 0, 0.05)


def test_profiles_hold_real_scans(shared_data):
    """Every size of two sensors' scans, at 2 to 80 cm, lies within the profile of the sensor's number of points."""
    ouster = np.fromfile(shared_data / "rellis3d/sequences/00/velodyne/000104.bin", np.float32).reshape(-1, 4)
    velodyne = np.fromfile(shared_data / "nuscenes/lidar_top.pcd.bin", np.float32).reshape(-1, 5)
    config = PRESETS["ptv3-half"]
    spec = GeometrySpec(tuple(LevelSpec((), ("z",)) for _ in range(5)))
    for scan in (ouster, velodyne):
        xyz = torch.from_numpy(scan[np.linalg.norm(scan[:, :3], axis=1) > 0.5, :3].copy())
        for voxel_size in (0.02, 0.05, 0.1, 0.15, 0.2, 0.8):
            ranges = dimension_ranges(config, len(scan), voxel_size)
            for number, level in enumerate(build_geometry(voxelize(xyz, voxel_size), spec).levels):
                patches, width = level.patches["z"].table.shape
                sizes = {"voxels": len(level), "patches": patches, "width": width}
                for kind, size in sizes.items():
                    assert size <= ranges[f"{kind}{number}"][2]
