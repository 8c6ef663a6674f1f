# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Datasets in SemanticKITTI's and ScanNet's formats, damaged ones, and datasets made of datasets."""

import time

import numpy as np
import pytest
import yaml

from srkd_ros.errors import ConfigError, DataError
from srkd_ros.labels import LabelSet, available
from srkd_train.datasets import open_dataset
from srkd_train.datasets.combine import Concat, guess_intensity_scale

RAW_IDS = np.array([0, 10, 40, 50, 70, 252], np.uint32)


def write_scan(folder, stem, points=50, seed=0, labels=True):
    """A scan in SemanticKITTI's format; returns (points [N, 4], raw ids [N])."""
    rng = np.random.default_rng(seed)
    data, raw = rng.normal(size=(points, 4)).astype("<f4"), rng.choice(RAW_IDS, points)
    (folder / "velodyne").mkdir(parents=True, exist_ok=True)
    data.tofile(folder / "velodyne" / f"{stem}.bin")
    if labels:
        (folder / "labels").mkdir(exist_ok=True)
        (raw | rng.integers(0, 99, points).astype(np.uint32) << 16).astype("<u4").tofile(
            folder / "labels" / f"{stem}.label"
        )
    return data, raw


@pytest.fixture
def kitti(tmp_path):
    """Sequences 00, 01 (train), 08 (val) and 11 (test, without labels), two scans each."""
    for sequence in ("00", "01", "08", "11"):
        for i in range(2):
            write_scan(tmp_path / "sequences" / sequence, f"{i:06d}", seed=i, labels=sequence != "11")
    return tmp_path


def test_semantic_kitti_splits_and_values(kitti):
    train = open_dataset("semantic_kitti", kitti)
    assert [s.name for s in train] == ["00/000000", "00/000001", "01/000000", "01/000001"]
    assert [s.name for s in open_dataset("semantic_kitti", kitti, "val")] == ["08/000000", "08/000001"]
    assert len(open_dataset("semantic_kitti", kitti, "all")) == 8
    assert [s.name[:2] for s in open_dataset("semantic_kitti", kitti, "08,00")] == ["08", "08", "00", "00"]
    assert len(open_dataset("semantic_kitti", kitti, [1])) == 2
    assert open_dataset("semantic_kitti", kitti, "test")[0].labels is None
    data, raw = write_scan(kitti / "sequences" / "00", "000000", seed=7)
    scan = train[0]
    np.testing.assert_array_equal(scan.xyz, data[:, :3])
    np.testing.assert_array_equal(scan.intensity, data[:, 3])
    np.testing.assert_array_equal(scan.labels, LabelSet.load("semantickitti").from_raw(raw))
    assert (scan.xyz.dtype, scan.intensity.dtype, scan.labels.dtype) == (np.float32, np.float32, np.uint8)
    assert set(scan.labels) == {255, 0, 8, 12, 14}
    assert train[-1].name == "01/000001"
    with pytest.raises(IndexError):
        train[4]


@pytest.mark.parametrize("place", ["dataset/sequences", "sequences", ".", "only"])
def test_semantic_kitti_is_found_where_it_lies(tmp_path, place):
    folder = tmp_path / "05" if place == "only" else tmp_path / place / "05"
    write_scan(folder, "000000")
    root = folder if place == "only" else tmp_path
    assert open_dataset("semantic_kitti", root)[0].name == "05/000000"


def test_dataset_yaml_rules(kitti):
    about = {"labels": "semantickitti", "intensity_scale": 255.0, "split": {"train": ["11"], "val": ["01"]}}
    (kitti / "dataset.yaml").write_text(yaml.safe_dump(about))
    dataset = open_dataset("semantic_kitti", kitti, "train")
    assert (dataset[0].name, dataset.intensity_scale) == ("11/000000", 255.0)
    assert open_dataset("semantic_kitti", kitti, "val", intensity_scale=2.0).intensity_scale == 2.0
    assert open_dataset("semantic_kitti", kitti, "val", labels="rellis3d").labels.name == "rellis3d"
    (kitti / "dataset.yaml").write_text("- a list")
    with pytest.raises(DataError, match=r"dataset\.yaml: expected a mapping"):
        open_dataset("semantic_kitti", kitti)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("intensity_scale: abc", "intensity_scale: 'abc' is not a number of 0 or more"),
        ("intensity_scale: .inf", "intensity_scale: inf is not a number"),
        ("labels: 3", "labels: 3 is not the name of a label set or a YAML file"),
        ("split: [train]", r"split: \['train'\] is not a mapping"),
        ("split: {train: 0}", "split: train: 0 is not a list of sequences such as"),
        ('split: {val: "02"}', "split: val: '02' is not a list of sequences such as"),
        ("split: {val: [[1]]}", r"split: val: \[\[1\]\] is not a list of sequences"),
        ("labels: [", "not YAML"),
        (b"\xff\xfe", "not YAML"),
    ],
)
def test_a_wrong_dataset_yaml_is_said_in_one_line(kitti, text, said):
    (kitti / "dataset.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=rf"dataset\.yaml: {said}") as caught:
        open_dataset("semantic_kitti", kitti)
    assert "\n" not in str(caught.value)


def test_a_label_set_may_lie_beside_dataset_yaml(kitti):
    classes = [{"name": "ground", "color": [1, 2, 3], "raw_ids": [40]}]
    (kitti / "own.yaml").write_text(yaml.safe_dump({"name": "own", "classes": classes}))
    (kitti / "dataset.yaml").write_text("labels: own.yaml\n")
    assert open_dataset("semantic_kitti", kitti, "all").labels.names == ("ground",)


def test_dataset_yaml_may_leave_out_values_and_quotes(kitti):
    (kitti / "dataset.yaml").write_text("labels:\nintensity_scale: 0\nsplit: {train: [01, 11], val: [8]}\n")
    assert {s.name[:2] for s in open_dataset("semantic_kitti", kitti)} == {"01", "11"}
    assert open_dataset("semantic_kitti", kitti, "val")[0].name == "08/000000"
    (kitti / "dataset.yaml").write_text("split:\n")
    assert len(open_dataset("semantic_kitti", kitti)) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("semantic_kitti", "missing"), "missing: no such folder"),
        (("semantic_kitti", "sequences/00/velodyne/000000.bin"), "000000.bin: not a folder"),
        (("semantic_kitti", "sequences/00/labels"), "not in SemanticKITTI's layout"),
        (("semantic_kitti", ".", "33"), "no split or sequence '33'; it has train, val, test, 00, 01, 08, 11"),
        (("nuscenes", "."), r"no tables of nuScenes; expected .*v1\.0-trainval"),
        (("scannet", "."), "no rooms in train/"),
        (("bag", "."), "no bag in it"),
        (("bag", "missing"), "no such bag or folder"),
        (("bag", "sequences/00/velodyne/000000.bin"), r"not a bag; one is a \.mcap, \.db3, \.bag file or a folder"),
    ],
)
def test_what_is_no_dataset_is_said_in_one_line(kitti, arguments, said):
    kind, root, *rest = arguments
    with pytest.raises(DataError, match=said) as caught:
        open_dataset(kind, kitti / root, *rest)
    assert "\n" not in str(caught.value)


def test_unknown_kinds_and_options(kitti):
    with pytest.raises(ConfigError, match="no kind of dataset 'kitti'; there are semantic_kitti"):
        open_dataset("kitti", kitti)
    with pytest.raises(ConfigError, match="has no option 'topic'; it has labels, intensity_scale"):
        open_dataset("semantic_kitti", kitti, topic="/points")
    with pytest.raises(ConfigError, match="has no option 'split'"):
        open_dataset("semantic_kitti", kitti, "train", **{"split": "val"})
    for name, value in (("intensity_scale", "abc"), ("intensity_scale", [1]), ("intensity_scale", -1), ("labels", 3)):
        with pytest.raises(ConfigError, match=rf"data\.options\.{name}: .* is not (a number|the name)"):
            open_dataset("semantic_kitti", kitti, **{name: value})
    assert open_dataset("rellis3d", kitti, labels=None, intensity_scale=None).labels.name == "rellis3d"
    with pytest.raises(ConfigError, match="on_bad is 'maybe'"):
        open_dataset("semantic_kitti", kitti, on_bad="maybe")


def damage(folder, how):
    scan, label = folder / "velodyne/000000.bin", folder / "labels/000000.label"
    match how:
        case "cut off":
            scan.write_bytes(scan.read_bytes()[:-3])
        case "empty":
            scan.write_bytes(b"")
        case "labels cut off":
            label.write_bytes(label.read_bytes()[:-4])
        case "no labels":
            label.unlink()
        case "nan":
            np.full((50, 4), np.nan, "<f4").tofile(scan)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut off", r"000000\.bin: 797 bytes, not a whole number of points of 16 bytes"),
        ("empty", r"000000\.bin: 0 bytes"),
        ("labels cut off", r"000000\.label: 49 labels for 50 points"),
        ("no labels", r"000000\.label: No such file"),
        ("nan", r"000000\.bin: not one finite point"),
    ],
)
def test_a_damaged_scan_is_named_and_refused_or_skipped(kitti, how, said):
    damage(kitti / "sequences/00", how)
    with pytest.raises(DataError, match=said):
        open_dataset("semantic_kitti", kitti)[0]
    tolerant = open_dataset("semantic_kitti", kitti, on_bad="skip")
    assert [tolerant[i].name for i in range(4)] == ["00/000001", "00/000001", "01/000000", "01/000001"]
    assert list(tolerant.bad) == [0]
    assert len(tolerant) == 4


def test_nothing_but_damaged_scans(kitti):
    for name in ("000000", "000001"):
        (kitti / f"sequences/08/velodyne/{name}.bin").write_bytes(b"123")
    tolerant = open_dataset("semantic_kitti", kitti, "val", on_bad="skip")
    with pytest.raises(DataError, match=r"not one of 2 scans can be read; the first: .*000001\.bin: 3 bytes"):
        tolerant[1]


def test_many_scans_open_quickly(tmp_path):
    folder = tmp_path / "sequences/00/velodyne"
    folder.mkdir(parents=True)
    for i in range(5000):
        (folder / f"{i:06d}.bin").touch()
    begin = time.perf_counter()
    assert len(open_dataset("semantic_kitti", tmp_path)) == 5000
    assert time.perf_counter() - begin < 1.0


def test_concatenation_scales_intensities(kitti):
    first = open_dataset("semantic_kitti", kitti, "00")
    second = open_dataset("semantic_kitti", kitti, "08", intensity_scale=4.0)
    both = Concat([first, second])
    assert [s.name for s in both] == ["00/000000", "00/000001", "08/000000", "08/000001"]
    np.testing.assert_array_equal(both[0].intensity, first[0].intensity)
    np.testing.assert_allclose(both[-1].intensity * 4, second[1].intensity)
    assert both.intensity_scale == 1.0
    with pytest.raises(ConfigError, match="'semantickitti' and 'rellis3d' differ"):
        Concat([first, open_dataset("semantic_kitti", kitti, "00", labels="rellis3d")])


def test_guessed_intensity_scale(kitti):
    scan = open_dataset("semantic_kitti", kitti)[0]
    for highest, expected in ((0.9, 1.0), (200, 255.0), (3000, 65535.0)):
        scan.intensity = np.linspace(0, highest, 50, dtype=np.float32)
        assert guess_intensity_scale(scan) == expected


def room(folder, points=30, **changed):
    rng = np.random.default_rng(0)
    arrays = {
        "coord": rng.uniform(0, 5, (points, 3)).astype(np.float32),
        "color": rng.integers(0, 256, (points, 3)).astype(np.uint8),
        "normal": rng.normal(size=(points, 3)).astype(np.float32),
        "segment20": rng.integers(-1, 20, points).astype(np.int64),
        **changed,
    }
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return arrays


def test_scannet(tmp_path):
    arrays = room(tmp_path / "train/scene0000_00")
    dataset = open_dataset("scannet", tmp_path)
    scan = dataset[0]
    low, high = arrays["coord"].min(0), arrays["coord"].max(0)
    middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    np.testing.assert_allclose(scan.xyz, arrays["coord"] - middle, atol=1e-6)
    assert scan.xyz.dtype == np.float32
    np.testing.assert_array_equal(scan.labels, np.where(arrays["segment20"] < 0, 255, arrays["segment20"]))
    np.testing.assert_allclose(np.stack([scan.extra[c] for c in ("red", "green", "blue")], 1), arrays["color"] / 255)
    np.testing.assert_array_equal(np.stack([scan.extra[n] for n in ("nx", "ny", "nz")], 1), arrays["normal"])
    assert (scan.intensity, scan.name) == (None, "train/scene0000_00")
    assert open_dataset("scannet", tmp_path, "all", features=False)[0].extra == {}
    (tmp_path / "train/scene0000_00/segment20.npy").unlink()
    assert dataset[0].labels is None


def test_scannet_rooms_turn_about_their_middle_and_overlap_when_mixed(tmp_path):
    """As recorded, rooms that are turned about the floor's corner lie beside each other."""
    for i in range(2):
        corner = np.random.default_rng(i).uniform(0, 2, 3)
        coord = np.random.default_rng(10 + i).uniform((0, 0, 0), (6, 6, 2.5), (3000, 3)) + corner
        room(tmp_path / f"train/scene000{i}_00", points=3000, coord=coord.astype(np.float32))
    dataset = open_dataset("scannet", tmp_path)
    scans = [dataset[0], dataset[1]]
    for scan in scans:
        np.testing.assert_allclose((scan.xyz.min(0) + scan.xyz.max(0))[:2], 0, atol=1e-5)
        assert scan.xyz[:, 2].min() == 0
    for angle in np.radians([30, 90, 180, 300]):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        mixed = scans[0].xyz[:, :2], scans[1].xyz[:, :2] @ turn.T
        cells = [{tuple(c) for c in np.floor(xy / 0.5).astype(int)} for xy in mixed]
        assert len(cells[0] & cells[1]) > 0.75 * min(map(len, cells))


def test_a_scannet_room_is_centred_by_its_finite_points(tmp_path):
    coord = np.array([[1, 2, 3], [5, 4, 9], [np.nan, 0, 0], [3, np.inf, 0]], np.float32)
    room(tmp_path / "train/scene0000_00", points=4, coord=coord)
    scan = open_dataset("scannet", tmp_path)[0]
    np.testing.assert_array_equal(scan.xyz[:2], [[-2, -1, 0], [2, 1, 6]])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"coord": np.zeros((0, 3), np.float32)}, r"coord\.npy: an array of shape \[0, 3\]"),
        ({"coord": np.full((30, 3), np.nan, np.float32)}, r"coord\.npy: not one finite point"),
        ({"color": np.zeros((29, 3), np.uint8)}, r"color\.npy: an array of shape \[29, 3\]; expected \[30, 3\]"),
        ({"segment20": np.array({"a": 1})}, r"segment20\.npy: not a whole \.npy array"),
    ],
)
def test_damaged_scannet_room(tmp_path, changed, said):
    room(tmp_path / "val/scene0001_00", **changed)
    with pytest.raises(DataError, match=said):
        open_dataset("scannet", tmp_path, "val")[0]


def test_shipped_label_sets():
    classes = {"semantickitti": 19, "nuscenes": 16, "rellis3d": 19, "scannet20": 20, "waymo22": 22}
    assert set(classes) <= set(available())
    for name, number in classes.items():
        labels = LabelSet.load(name)
        assert (labels.name, len(labels), len(set(labels.names))) == (name, number, number)
        assert len({tuple(c) for c in labels.colors}) == number
        np.testing.assert_array_equal(labels.from_raw(labels.to_raw(np.arange(number))), np.arange(number))
