# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Wrong intensity scale, wrong field, wrong mounting: each is noticed, and the advice mends it."""

import numpy as np
import pytest

from srkd_ros.labels import LabelSet
from srkd_ros.network.config import preset
from srkd_ros.node.drift import InputMonitor, findings, quantiles
from srkd_ros.node.frames import from_rpy, mounting
from srkd_ros.student import InputStatistics, Manifest

FIELDS = ("x", "y", "z", "intensity", "reflectivity")


def street(height=1.8, seed=0, count=20000):
    """Points on the ground, a wall and a few poles; intensities in 0..1, mostly dark."""
    generator = np.random.default_rng(seed)
    angle, distance = generator.uniform(0, 2 * np.pi, count), generator.gamma(2.0, 8.0, count) + 2
    z = np.where(generator.random(count) < 0.6, -height, generator.uniform(-height, 4, count))
    xyz = np.stack([distance * np.cos(angle), distance * np.sin(angle), z], 1).astype(np.float32)
    return xyz, generator.beta(1.2, 4, count).astype(np.float32)


def trained() -> Manifest:
    xyz, intensity = street(seed=1)
    statistics = InputStatistics(quantiles(intensity), quantiles(np.linalg.norm(xyz, axis=1)), quantiles(xyz[:, 2]))
    return Manifest(preset("nano"), LabelSet.load("semantickitti"), statistics=statistics)


def look(xyz, intensity, scale=1.0, field="intensity", manifest=None):
    manifest = manifest or trained()
    monitor = InputMonitor(manifest)
    for part in np.array_split(np.arange(len(xyz)), 5):
        monitor.add(xyz[part], None if intensity is None else intensity[part], scale)
    return findings(monitor.summary(), manifest, scale, field if intensity is not None else None, FIELDS)


def test_like_the_training_data():
    xyz, intensity = street()
    assert look(xyz, intensity) == []
    assert look(xyz, intensity * 255, scale=255) == []
    assert look(xyz * 1.5 * [1, 1, 1 / 1.5], intensity * 0.5) == []  # another sensor, another town


@pytest.mark.parametrize(("full", "used", "advice"), [(255, 1, "255"), (65535, 255, "65535"), (1, 255, "1")])
def test_wrong_scale(full, used, advice):
    xyz, intensity = street()
    (found,) = look(xyz, intensity * full, scale=used)
    assert found.parameter == "intensity_scale"
    assert found.text.endswith(f"intensity_scale:={advice}")
    assert look(xyz, intensity * full, scale=float(advice)) == []


def test_unusual_scale_gets_a_number():
    xyz, intensity = street()
    (found,) = look(xyz, intensity * 4096, scale=65535)
    advice = float(found.text.rpartition(":=")[2].partition(",")[0])
    assert "intensity_field" in found.text
    assert look(xyz, intensity * 4096, scale=advice) == []


def test_wrong_field():
    xyz, intensity = street()
    (constant,) = look(xyz, np.zeros_like(intensity))
    (time,) = look(xyz, np.linspace(0, 1e8, len(xyz)), scale=65535, field="t")
    (signed,) = look(xyz, intensity - 0.5)
    (none,) = look(xyz, None)
    for found in (constant, time, signed, none):
        assert found.parameter == "intensity_field"
    assert "reflectivity" in constant.text
    assert "reflectivity" in none.text


def test_upside_down_and_the_cure():
    xyz, intensity = street()
    turned = from_rpy(np.pi, 0, 0)(xyz)
    (found,) = look(turned, intensity)
    assert found.parameter == "sensor_rpy"
    pose = mounting(trained(), (np.pi, 0.0, 0.0), -1.0)
    assert look(pose(turned), intensity) == []


@pytest.mark.parametrize("height", [0.4, 4.0])
def test_other_height_and_the_cure(height):
    xyz, intensity = street(height)
    xyz[:, 2] = np.minimum(xyz[:, 2], 5.8 - height)
    found = [f for f in look(xyz, intensity) if f.parameter == "sensor_height"]
    assert len(found) == 1
    pose = mounting(trained(), (0.0, 0.0, 0.0), height)
    assert not [f for f in look(pose(xyz), intensity) if f.parameter == "sensor_height"]


def test_units_and_empty_streams():
    xyz, intensity = street()
    assert "metres" in look(xyz * 1000, intensity)[0].text
    assert "blocked" in look(np.zeros_like(xyz), intensity)[0].text
    assert "blocked" in look(np.full_like(xyz, np.nan), intensity)[0].text
    assert InputMonitor(trained()).summary() is None


def test_student_without_statistics():
    xyz, intensity = street()
    bare = Manifest(preset("nano"), LabelSet.load("semantickitti"))
    assert look(xyz, intensity * 255, manifest=bare) == []


def test_real_scans_upright_and_hanging(shared_data):
    """HDL-32E on a car roof, 1.8 m above the ground; the statistics are those of the synthetic street."""
    points = np.fromfile(shared_data / "nuscenes" / "lidar_top.pcd.bin", np.float32).reshape(-1, 5)
    xyz, intensity = points[:, :3], points[:, 3]
    assert look(xyz, intensity, scale=255) == []
    hanging = look(from_rpy(np.pi, 0, 0)(xyz), intensity, scale=255)
    assert [f.parameter for f in hanging] == ["sensor_rpy"]
    (raw,) = look(xyz, intensity, scale=1.0)
    assert raw.text.endswith("intensity_scale:=255")
