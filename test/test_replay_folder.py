# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Folders of scans as inputs of srkd-replay: SemanticKITTI's and nuScenes's files, whole and cut off."""

import shutil

import numpy as np
import pytest
from replay_data import replay, street, write_kitti

from srkd_ros import Segmenter, pointcloud2
from srkd_ros.replay import cli
from srkd_ros.replay.source import open_source


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(Segmenter, "warm_up", lambda self, points=0: None)


def write_nuscenes(folder, clouds=2):
    """The street as nuScenes keeps it: intensity from 0 to 255, and a fifth number, the ring."""
    folder.mkdir(parents=True)
    for i in range(clouds):
        points = street(i)[0] * np.float32([1, 1, 1, 255])
        ring = np.arange(len(points), dtype=np.float32) % 32
        np.c_[points, ring].tofile(folder / f"n015__LIDAR_TOP__{i}.pcd.bin")
    return folder


def test_nuscenes_scans_have_five_numbers_a_point(tmp_path, student_file):
    root = tmp_path / "nuscenes"
    scans = write_nuscenes(root / "samples" / "LIDAR_TOP")
    for path in (root, scans):
        clouds = list(open_source([path]))
        assert [c.name for c in clouds] == [f"LIDAR_TOP/n015__LIDAR_TOP__{i}" for i in range(2)]
        message = clouds[1].message()
        points = pointcloud2.read(message)
        assert np.array_equal(points.xyz, street(1)[0][:, :3])
        assert np.array_equal(points.intensity, street(1)[0][:, 3] * np.float32(255))
        assert pointcloud2.read_field(message, "ring").max() == 31
    _, document = replay(scans, "-m", student_file, "--no-bag", output=tmp_path / "out")
    assert document["models"][0]["intensity_scale"] == 255
    assert document["input"]["points"] == 6000


def test_a_real_sweep_of_nuscenes(shared_data, tmp_path):
    shutil.copy(shared_data / "nuscenes" / "lidar_top.pcd.bin", tmp_path)
    (cloud,) = open_source([tmp_path])
    points = pointcloud2.read(cloud.message())
    assert len(points) == 34688
    assert np.isfinite(points.xyz).all()
    assert np.abs(points.xyz).max() < 200
    assert 100 < points.intensity.max() <= 255


@pytest.mark.parametrize("kind", [".bin", ".pcd.bin"])
def test_a_scan_that_ends_within_a_point_cannot_be_read(kind, tmp_path, student_file, capsys):
    folder = write_kitti(tmp_path / "00", 3) / "velodyne" if kind == ".bin" else write_nuscenes(tmp_path / "top", 3)
    files = sorted(folder.iterdir())
    files[1].write_bytes(files[1].read_bytes()[:-4])
    _, document = replay(folder, "-m", student_file, "--no-bag", output=tmp_path / "out")
    assert document["input"]["unreadable_clouds"] == 1
    assert f"/{files[1].name.removesuffix(kind)}): data of the cloud has" in document["input"]["first_unreadable"]
    for file in files:
        file.write_bytes(file.read_bytes()[:-4])
    assert cli.main([str(folder), "-m", str(student_file), "-o", str(tmp_path / "none")]) == 2
    assert "no cloud could be evaluated" in capsys.readouterr().err
