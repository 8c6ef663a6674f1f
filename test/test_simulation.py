# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The simulation against plane geometry and data sheets, its determinism, and its files, read independently."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from srkd_ros.errors import ConfigError, DataError
from srkd_ros.labels import LabelSet

pytest.importorskip("embreex")

from srkd_train.simulation import SENSORS, build_town, sensor_model, simulate_scan, synthesize
from srkd_train.simulation.mesh import GLASS, box, join, make, quads
from srkd_train.simulation.scanner import Caster, cast_scan
from srkd_train.simulation.town import ORDER, STYLES

SMALL = {"sequences": 2, "scans": 2, "sensor": "vlp-16", "columns": 128, "progress": False}


@pytest.fixture(scope="module")
def town():
    return build_town(3, 0, 30.0)


def scan_of(mesh, sensor, height=1.73, seed=0):
    pose = np.eye(4)
    pose[2, 3] = height
    return cast_scan([(Caster(mesh, np.zeros(3)), mesh)], sensor, pose, seed=seed)


def floor(half=300.0, reflectivity=0.5):
    corners = [[(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)]]
    return make(quads(np.array(corners)), 40, reflectivity)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("synth") / "data", bag=True, **SMALL)


@pytest.mark.parametrize(
    ("name", "rings", "highest", "lowest", "rate"),
    [
        ("os1-64", 64, 21.2, -21.2, 10),
        ("os1-128", 128, 21.2, -21.2, 10),
        ("hdl-32e", 32, 10.67, -30.67, 20),
        ("vlp-16", 16, 15, -15, 10),
    ],
)
def test_beam_tables(name, rings, highest, lowest, rate):
    sensor = SENSORS[name]
    assert (sensor.rings, sensor.rate) == (rings, rate)
    assert max(sensor.elevations) == pytest.approx(highest, abs=0.01)
    assert min(sensor.elevations) == pytest.approx(lowest, abs=0.01)
    directions = sensor.directions()
    assert directions.shape == (rings, sensor.columns, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1, atol=1e-6)
    elevation = np.rad2deg(np.arcsin(directions[:, 0, 2]))
    np.testing.assert_allclose(elevation, sensor.elevations, atol=1e-4)


def test_range_noise_against_a_plane():
    sensor = sensor_model("vlp-16")
    scan = scan_of(floor(), sensor)
    directions = sensor.directions()
    near = scan.returned & (directions[..., 2] < -0.15)
    expected = -1.73 / directions[near][:, 2]
    error = np.linalg.norm(scan.xyz[near], axis=1) - expected
    assert near.sum() > 5000
    assert abs(error.mean()) < 4 * sensor.sigma / np.sqrt(near.sum())
    assert 0.98 * sensor.sigma < error.std() < 1.15 * sensor.sigma  # bright and near: hardly more than the data sheet's
    assert not scan.returned[directions[..., 2] > 0].any()
    assert set(np.unique(scan.raw_ids[scan.returned])) == {40}
    lost = 1 - scan.returned[directions[..., 2] < -0.15].mean()
    assert lost == pytest.approx(sensor.dropout, abs=0.005)


def test_intensity_falls_with_range_incidence_and_reflectivity():
    sensor = sensor_model("hdl-32e")
    bright, dark = scan_of(floor(reflectivity=0.6), sensor), scan_of(floor(reflectivity=0.1), sensor)
    rows = [bright.intensity[r][bright.returned[r]].mean() for r in (2, 8, 14, 18)]
    assert rows == sorted(rows, reverse=True)
    assert dark.intensity[5].mean() < 0.5 * bright.intensity[5].mean()
    # A dark road fades out with range: fewer returns of the shallow beams.
    assert dark.returned[22].mean() < 0.8 * bright.returned[22].mean()


def test_what_is_in_front_hides_what_is_behind():
    sensor = sensor_model("vlp-16")
    wall = box((10, -20, 0), (10.2, 20, 8), 50, 0.5)
    person = box((5, -0.4, 0), (5.3, 0.4, 1.9), 30, 0.5)
    scan = scan_of(join([floor(), wall, person]), sensor)
    x, y, z = np.moveaxis(scan.xyz, -1, 0)
    ahead = scan.returned & (x > 0) & (np.abs(y) < 0.07 * x) & (np.abs(z) < 0.03 * x)
    assert ahead.sum() > 20
    assert set(np.unique(scan.raw_ids[ahead])) == {30}
    assert x[scan.returned & (np.abs(y) < 0.5)].max() < 10.4


def test_glass_seldom_returns():
    sensor = sensor_model("vlp-16")
    matt = scan_of(box((8, -20, 0), (8.2, 20, 8), 50, 0.5), sensor)
    glass = scan_of(box((8, -20, 0), (8.2, 20, 8), 50, 0.5, GLASS), sensor)
    assert glass.returned.sum() < 0.3 * matt.returned.sum()


def test_same_seed_same_scan_other_seed_other_town(town):
    sensor = sensor_model("vlp-16")
    again = build_town(3, 0, 30.0)
    np.testing.assert_array_equal(town.static.triangles, again.static.triangles)
    a, b = simulate_scan(town, sensor, 1.0, seed=5), simulate_scan(again, sensor, 1.0, seed=5)
    for name in ("xyz", "intensity", "raw_ids", "pose"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
    assert simulate_scan(town, sensor, 1.0, seed=6).xyz.tobytes() != a.xyz.tobytes()
    assert len(build_town(4, 0, 30.0).static) != len(town.static)


def test_the_sensor_and_the_actors_move(town):
    first, later = town.pose(0.0), town.pose(2.0)
    assert np.linalg.norm(later[:3, 3] - first[:3, 3]) == pytest.approx(2 * town.speed, rel=0.05)
    np.testing.assert_allclose(later[:3, :3] @ later[:3, :3].T, np.eye(3), atol=1e-9)
    scan = simulate_scan(town, sensor_model("os1-64", 512), 0.5)
    ids = scan.raw_ids[scan.returned]
    assert ((ids & 0xFFFF) >= 252).any()
    assert np.unique(ids >> 16).size > 3
    assert not scan.raw_ids[~scan.returned].any()
    assert not scan.intensity[~scan.returned].any()
    assert 0 <= scan.intensity.min() <= scan.intensity.max() <= 1
    # The road lies where the mounting height says.
    road = (ids & 0xFFFF == 40) & (np.linalg.norm(scan.xyz[scan.returned], axis=1) < 8)
    assert np.median(scan.xyz[scan.returned][road, 2]) == pytest.approx(-1.73, abs=0.15)


def test_classes_of_all_styles():
    labels = LabelSet.load("semantickitti")
    found: set[int] = set()
    for index, style in enumerate(STYLES):
        town = build_town(0, index, 40.0, style)
        # What stands and moves, rather than what one sweep happens to see.
        found |= set(np.unique(labels.from_raw(town.static.raw_ids & 0xFFFF)).tolist())
        for actor in town.actors:
            found |= set(np.unique(labels.from_raw(actor.mesh.raw_ids & 0xFFFF)).tolist())
    assert found >= set(range(len(labels)))
    assert set(ORDER) == set(STYLES)


def test_layout_read_with_numpy(written):
    labels = LabelSet.load("semantickitti")
    notes = yaml.safe_load((written / "dataset.yaml").read_text())
    assert notes["split"] == {"train": ["00"], "val": ["01"]}
    assert (notes["labels"], notes["intensity_scale"], notes["sensor"]) == ("semantickitti", 1.0, "vlp-16")
    for name in ("00", "01"):
        folder = written / "sequences" / name
        assert np.loadtxt(folder / "poses.txt").shape == (2, 12)
        np.testing.assert_allclose(np.loadtxt(folder / "times.txt"), [0.0, 0.1])
        assert (folder / "calib.txt").read_text().count("\n") == 5
        for i in range(2):
            points = np.fromfile(folder / f"velodyne/{i:06d}.bin", "<f4").reshape(-1, 4)
            raw = np.fromfile(folder / f"labels/{i:06d}.label", "<u4")
            assert len(points) == len(raw) > 500
            assert (np.linalg.norm(points[:, :3], axis=1) > 0.8).all()
            assert (labels.from_raw(raw & 0xFFFF) != 255).mean() > 0.9
    assert not list(written.rglob("*.tmp"))


@pytest.mark.parametrize(("sensor", "step", "fields"), [("vlp-16", 22, 6), ("os1-64", 48, 9)])
def test_bag_has_the_drivers_layout(tmp_path, sensor, step, fields):
    from rosbags.highlevel import AnyReader

    out = synthesize(tmp_path / "out", 1, 2, sensor, columns=64, bag=True, progress=False)
    folder = out / "sequences" / "00"
    rings = SENSORS[sensor].rings
    with AnyReader([folder / "bag"]) as reader:
        assert [c.topic for c in reader.connections] == ["/points"]
        messages = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages()]
    assert len(messages) == 2
    for i, message in enumerate(messages):
        assert (message.height, message.width, message.point_step) == (rings, 64, step)
        assert message.row_step * message.height == len(message.data)
        assert len(message.fields) == fields
        kinds = {7: "<f4", 6: "<u4", 4: "<u2"}
        layout = np.dtype(
            {
                "names": [f.name for f in message.fields],
                "formats": [kinds[f.datatype] for f in message.fields],
                "offsets": [f.offset for f in message.fields],
                "itemsize": message.point_step,
            }
        )
        cloud = np.frombuffer(message.data.tobytes(), layout)
        truth = np.fromfile(folder / f"bag_labels/{i:06d}.label", "<u4")
        assert len(truth) == len(cloud) == rings * 64
        kept = truth != 0
        stored = np.fromfile(folder / f"velodyne/{i:06d}.bin", "<f4").reshape(-1, 4)
        np.testing.assert_array_equal(np.stack([cloud[k][kept] for k in "xyz"], 1), stored[:, :3])
        np.testing.assert_allclose(cloud["intensity"][kept] / 255, stored[:, 3], atol=0.5 / 255 + 1e-6)
        empty = cloud["x"][~kept]
        assert np.isnan(empty).all() if sensor == "vlp-16" else not empty.any()
    gap = messages[1].header.stamp.nanosec - messages[0].header.stamp.nanosec
    assert gap == 100_000_000


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, written):
    whole = contents(synthesize(tmp_path / "data", bag=True, **SMALL))
    assert whole.keys() == contents(written).keys()
    assert all(whole[k] == v for k, v in contents(written).items() if not k.endswith((".mcap", "metadata.yaml")))
    folder = tmp_path / "data" / "sequences" / "01"
    kept = folder / "velodyne/000000.bin"
    stamp = kept.stat().st_mtime_ns
    for victim in ("velodyne/000001.bin", "labels/000001.label", "times.txt"):
        (folder / victim).unlink()
    (folder / "velodyne/000001.bin.tmp").write_bytes(b"half")
    assert contents(synthesize(tmp_path / "data", bag=True, **SMALL)) == whole
    assert kept.stat().st_mtime_ns == stamp


def test_bad_input_names_the_fix(tmp_path, written):
    with pytest.raises(ConfigError, match=r"no sensor 'os2'.*os1-64"):
        synthesize(tmp_path / "a", sensor="os2")
    with pytest.raises(ConfigError, match="columns is 3"):
        synthesize(tmp_path / "a", columns=3)
    with pytest.raises(ConfigError, match="scans is 0"):
        synthesize(tmp_path / "a", scans=0)
    with pytest.raises(ConfigError, match="seed is -1"):
        synthesize(tmp_path / "a", seed=-1)
    assert not (tmp_path / "a").exists()
    with pytest.raises(DataError, match="other settings"):
        synthesize(written, bag=True, **{**SMALL, "scans": 3})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="no synthetic data"):
        synthesize(tmp_path / "mine", **SMALL)
    assert json.loads((written / "synth.json").read_text())["scans"] == 2
